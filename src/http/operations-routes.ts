import type { FastifyInstance } from "fastify";
import { profileFacts, profiles } from "../models/profiles.ts";
import { models } from "../models/registry.ts";
import type { Health, ModelList, Readiness } from "../wire/answers.ts";
import { ApiError } from "./api-error.ts";
import type { AppContext } from "./context.ts";

/** What machines ask: is it alive, can it take requests, how is it doing, what does it run. */
export function addOperationsRoutes(
  app: FastifyInstance,
  { notReady, devices, storagesOf, metrics }: AppContext,
): void {
  app.get("/health", async (): Promise<Health> => ({ status: "healthy" }));

  app.get("/ready", async (): Promise<Readiness> => {
    const reasons = (await notReady()).map(({ code, message }) => ({ code, message }));
    if (reasons.length > 0) {
      const message = reasons.map((reason) => reason.message).join(" ");
      throw new ApiError(503, "NOT_READY", message, { reasons });
    }
    return { status: "ready" };
  });

  app.get("/metrics", async (_, reply) =>
    reply
      .header("content-type", metrics.registry.contentType)
      .serializer((text: unknown) => String(text))
      .send(await metrics.registry.metrics()),
  );

  app.get(
    "/v1/models",
    async (): Promise<ModelList> => ({
      devices: devices.map(({ name, adapter, reason }) => ({ name, adapter, reason })),
      storages: (await Promise.all(models.map(storagesOf))).flat(),
      models: models.map((model) => ({
        id: model.id,
        base_model: model.repository,
        resolution_divisor: profiles.reference.divisor,
        default_steps: model.steps,
        default_guidance_scale: model.guidanceScale,
        requires_control_image: model.requiresControlImage,
        is_video_model: model.isVideoModel,
        default_num_frames: null,
        default_fps: null,
      })),
      profiles: Object.values(profiles).map(profileFacts),
    }),
  );
}
