import { rm } from "node:fs/promises";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { InputError } from "../errors.ts";
import { describeInThread } from "../lora-files/describe.ts";
import { isUploadId, uploadPath } from "../lora-files/lora-path.ts";
import { admit } from "../lora-files/turns.ts";
import { findLora } from "../node/find-loras.ts";
import type { UploadRecord } from "../queue/upload-records.ts";
import { formatTimestamp } from "../wire/from-job.ts";
import type { DescribedUpload, Inspected, Upload, UploadPage } from "../wire/lora-answers.ts";
import { uploadNotFound } from "./api-error.ts";
import { diskFull } from "./arrivals.ts";
import { ownerOf } from "./auth.ts";
import type { AppContext } from "./context.ts";
import { requireSameSite } from "./foreign-pages.ts";
import { inspectQuery, nextPage, parseQuery, uploadQuery, uploadsQuery } from "./queries.ts";
import type { Sender } from "./sender.ts";
import { senderOf } from "./sender.ts";
import type { ReceivedUpload } from "./upload-body.ts";
import { receiveUpload, uploadName } from "./upload-body.ts";

interface WithId {
  Params: { id: string };
}

const inputErrorCode = "LORA_NOT_USABLE";

/** Uploaded LoRAs, and what any LoRA is. */
export function addLoraRoutes(app: FastifyInstance, context: AppContext): void {
  const { settings, uploads, arrivals, pace } = context;

  async function recordOf(request: FastifyRequest<WithId>): Promise<UploadRecord> {
    const { id } = request.params;
    const record = isUploadId(id) ? await uploads.get(ownerOf(request), id) : undefined;
    // Somebody else's upload is as good as none.
    if (record === undefined) throw uploadNotFound(id);
    return record;
  }

  async function keep(
    { staged, name: sentName }: ReceivedUpload,
    givenName: string | undefined,
    { owner, client, signal }: Sender,
  ) {
    const name = uploadName(givenName ?? sentName);
    const shown = name ?? "The upload";
    const describe = async (file: string) => {
      const description = await describeInThread(file, shown, { client, signal });
      if (description.unusable === null) return description;
      throw new InputError(`${shown} can't be used as a LoRA: ${description.unusable}`);
    };
    try {
      return await admit(client, () => uploads.add(staged, { owner, name, describe }));
    } finally {
      await rm(staged.path, { force: true });
    }
  }

  app.post("/v1/loras", { config: { largeBody: true, inputErrorCode } }, async (request, reply) => {
    const query = parseQuery(uploadQuery, request.query);
    const sender = senderOf(request, reply);
    const { fileBytes } = settings.loraSource;
    const { stagingFolder } = uploads.contents.store;
    try {
      const received = await arrivals.receive((admit) =>
        receiveUpload(request, stagingFolder, { fileBytes, admit, pace }),
      );
      const { record, created } = await keep(received, query.name, sender);
      request.log.info({ upload: record.sha256, bytes: record.bytes, created }, "LoRA uploaded");
      return reply
        .code(created ? 201 : 200)
        .header("location", `/v1/loras/${record.sha256}`)
        .send(describedBody(record));
    } catch (error) {
      throw diskFull(error);
    }
  });

  app.get("/v1/loras", async (request) => {
    const { limit, after } = parseQuery(uploadsQuery, request.query);
    const records = await uploads.list({ owner: ownerOf(request), limit, after });
    const page: UploadPage = {
      loras: records.map(uploadBody),
      next: nextPage(
        records.map(({ sha256 }) => sha256),
        limit,
      ),
    };
    return page;
  });

  app.get<WithId>("/v1/loras/:id", async (request) => describedBody(await recordOf(request)));

  app.get("/v1/loras/inspect", { config: { inputErrorCode } }, async (request, reply) => {
    // It fetches what the path names: an image on a page could ask for that.
    requireSameSite(request, settings);
    const { path } = parseQuery(inspectQuery, request.query);
    const { owner, client, signal } = senderOf(request, reply);
    const wanted = { path, owner, hfToken: settings.hub.token, signal, onProgress: () => {} };
    return admit(client, async (): Promise<Inspected> => {
      const file = await findLora(wanted, settings, uploads);
      return { description: await describeInThread(file, "The LoRA", { client, signal }) };
    });
  });

  app.delete<WithId>("/v1/loras/:id", async (request, reply) => {
    const { sha256 } = await recordOf(request);
    if (!(await uploads.remove(ownerOf(request), sha256))) throw uploadNotFound(sha256);
    return reply.code(204).send();
  });
}

function uploadBody({ sha256, name, bytes, created_at }: UploadRecord): Upload {
  return {
    id: sha256,
    path: uploadPath(sha256),
    name,
    bytes,
    created_at: formatTimestamp(created_at),
  };
}

function describedBody(record: UploadRecord): DescribedUpload {
  return { ...uploadBody(record), description: record.description };
}
