import cors from "@fastify/cors";
import rateLimit from "@fastify/rate-limit";
import type { FastifyContextConfig, FastifyInstance, FastifyRequest } from "fastify";
import fastify, { LogController } from "fastify";
import { messageOf } from "../errors.ts";
import { writeJson } from "../wire/python-json.ts";
import { ApiError } from "./api-error.ts";
import { requireKeys } from "./auth.ts";
import { BodyError, takeBodiesAsBytes } from "./body.ts";
import type { AppContext } from "./context.ts";
import { addExplainRoute } from "./explain-route.ts";
import { refuseForeignPages } from "./foreign-pages.ts";
import { addJobUploadRoutes } from "./job-upload-routes.ts";
import { addLoraRoutes } from "./lora-routes.ts";
import { answerUnknownRoutes } from "./not-found.ts";
import { addDocumentation } from "./openapi.ts";
import { addOperationsRoutes } from "./operations-routes.ts";
import { addPreviewRoutes } from "./preview-routes.ts";
import { refusalOf } from "./refusals.ts";
import { addRequestRoutes } from "./request-routes.ts";
import { cutSlowBodies } from "./slow-bodies.ts";
import { endConnectionsAtStop } from "./stopping.ts";
import { addSubmitRoute } from "./submit-route.ts";

export async function buildApp(context: AppContext): Promise<FastifyInstance> {
  const { settings, keys, pace, log, metrics } = context;
  const app = fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: settings.limits.bodyBytes,
    exposeHeadRoutes: false,
    // Ids are checked by the handlers, which answer 404 with the id, however long it is.
    routerOptions: { maxParamLength: 4096 },
    return503OnClosing: true,
    forceCloseConnections: "idle",
  });
  app.setSerializerCompiler(() => writeJson);
  app.setReplySerializer(writeJson);
  takeBodiesAsBytes(app);
  cutSlowBodies(app, pace);
  const stopping = endConnectionsAtStop(app);
  answerUnknownRoutes(app);
  app.setErrorHandler((error, request, reply) => {
    const { status, body, headers } = answerTo(error, request.routeOptions.config);
    if (status >= 500) request.log.error({ err: error }, "a request failed");
    return reply.code(status).headers(headers).send(body);
  });
  app.addHook("onSend", async (_, reply) => {
    reply.header("x-content-type-options", "nosniff");
    reply.header("referrer-policy", "no-referrer");
  });
  app.addHook("onResponse", async (request, reply) => {
    const route = request.routeOptions.url ?? "none";
    metrics.observeRequest(request.method, route, reply.statusCode, reply.elapsedTime / 1000);
    request.log.info(
      // The path alone: queries may hold what nobody should read.
      { method: request.method, path: pathOf(request), status: reply.statusCode },
      "answered",
    );
  });

  refuseForeignPages(app, settings, { withKeys: keys !== undefined });
  const origins = settings.corsOrigins;
  if (origins.length > 0) {
    await app.register(cors, {
      origin: origins.includes("*") ? true : [...origins],
      credentials: !origins.includes("*"),
      // The plugin's default knows no PUT and no DELETE.
      methods: ["GET", "HEAD", "POST", "PUT", "DELETE"],
      maxAge: 600,
    });
  }
  requireKeys(app, keys);
  await app.register(rateLimit, {
    max: (request) => request.apiKey?.rateLimit ?? settings.rateLimit,
    timeWindow: "1 minute",
    hook: "preHandler",
    keyGenerator: (request) => request.apiKey?.name ?? request.ip,
    // Health and metrics are asked for by machines that must always get an answer.
    allowList: (request) => keys === undefined || !pathOf(request).startsWith("/v1/"),
    errorResponseBuilder: (_, { ttl }) => {
      const seconds = Math.ceil(ttl / 1000);
      const message = `Too many requests with this key. Come again in ${seconds} seconds.`;
      return new ApiError(429, "RATE_LIMITED", message, { retry_after: seconds });
    },
  });
  await addDocumentation(app, settings);
  addOperationsRoutes(app, context);
  addSubmitRoute(app, context);
  addExplainRoute(app, context);
  addPreviewRoutes(app, context);
  addRequestRoutes(app, context, stopping);
  await app.register(async (scope) => {
    // A file goes to the disk as it comes.
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", (_, __, done) => done(null));
    addLoraRoutes(scope, context);
    addJobUploadRoutes(scope, context);
  });
  return app;
}

function pathOf(request: FastifyRequest): string {
  return request.url.split("?", 1)[0]!;
}

interface Answer {
  readonly status: number;
  readonly body: object | string;
  readonly headers: Readonly<Record<string, string>>;
}

/** Every error becomes an answer here and nowhere else. */
function answerTo(error: unknown, config: FastifyContextConfig): Answer {
  const refusal = refusalOf(error, config);
  if (refusal !== undefined)
    return { status: refusal.status, body: refusal.body(), headers: refusal.headers };
  if (error instanceof BodyError)
    return { status: error.status, body: { detail: error.detail }, headers: {} };
  // Fastify's own refusals: a body that is too large, a header that is no header.
  const status =
    error instanceof Error && "statusCode" in error && typeof error.statusCode === "number"
      ? error.statusCode
      : 500;
  if (status < 500) return { status, body: { detail: messageOf(error) }, headers: {} };
  return {
    status: 500,
    body: "Internal Server Error",
    headers: { "content-type": "text/plain; charset=utf-8" },
  };
}
