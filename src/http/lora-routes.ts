import { rm } from "node:fs/promises";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { InputError } from "../errors.ts";
import { describeInThread } from "../lora-files/describe.ts";
import { LoraNotFoundError } from "../lora-files/local.ts";
import { isUploadId, uploadPath } from "../lora-files/upload-path.ts";
import { TransferError } from "../net/errors.ts";
import { findLora } from "../node/find-loras.ts";
import { UploadInUseError, UploadNotFoundError, UploadsFullError } from "../queue/errors.ts";
import type { UploadRecord } from "../queue/upload-records.ts";
import { ApiError, loraNotFound, parseQuery, uploadNotFound } from "./api-error.ts";
import { ownerOf } from "./auth.ts";
import type { AppContext } from "./context.ts";
import { requireSameSite } from "./foreign-pages.ts";
import { formatTimestamp } from "./render.ts";
import type { ReceivedUpload } from "./upload-body.ts";
import { receiveUpload, uploadName } from "./upload-body.ts";

interface WithId {
  Params: { id: string };
}

const listingSchema = z.object({
  limit: z.coerce.number().int().min(1).max(100).default(20),
  after: z.string().refine(isUploadId, "is no id of an upload").optional(),
});
const uploadSchema = z.object({ name: z.string().max(1000).optional() });
const inspectSchema = z.object({ path: z.string().max(4096) });

/** Uploaded LoRAs, and what any LoRA is. */
export function addLoraRoutes(app: FastifyInstance, context: AppContext): void {
  const { settings, uploads, pace } = context;
  /** Bytes that are being received here and are in no record yet. */
  let arriving = 0;

  async function recordOf(request: FastifyRequest<WithId>): Promise<UploadRecord> {
    const { id } = request.params;
    const record = isUploadId(id) ? await uploads.get(ownerOf(request), id) : undefined;
    // Somebody else's upload is as good as none.
    if (record === undefined) throw uploadNotFound(id);
    return record;
  }

  async function receive(request: FastifyRequest) {
    const room = await uploads.room();
    let admitted = 0;
    const admit = (bytes: number) => {
      admitted += bytes;
      arriving += bytes;
      if (arriving > room) throw new UploadsFullError(settings.uploads.bytes);
    };
    try {
      const { fileBytes } = settings.loraSource;
      return await receiveUpload(request, uploads.store.stagingFolder, { fileBytes, admit, pace });
    } finally {
      arriving -= admitted;
    }
  }

  async function keep(
    { staged, name: sentName }: ReceivedUpload,
    givenName: string | undefined,
    owner: string,
  ) {
    const name = uploadName(givenName ?? sentName);
    const shown = name ?? "The upload";
    const describe = async (file: string) => {
      const description = await describeInThread(file, shown);
      if (description.unusable === null) return description;
      throw new InputError(`${shown} can't be used as a LoRA: ${description.unusable}`);
    };
    try {
      return await uploads.add(staged, { owner, name, describe });
    } finally {
      await rm(staged.path, { force: true });
    }
  }

  app.post("/v1/loras", { config: { largeBody: true } }, async (request, reply) => {
    const query = parseQuery(uploadSchema, request.query);
    try {
      const { record, created } = await keep(await receive(request), query.name, ownerOf(request));
      request.log.info({ upload: record.sha256, bytes: record.bytes, created }, "LoRA uploaded");
      return reply
        .code(created ? 201 : 200)
        .header("location", `/v1/loras/${record.sha256}`)
        .send(describedBody(record));
    } catch (error) {
      throw refusalOf(error);
    }
  });

  app.get("/v1/loras", async (request) => {
    const { limit, after } = parseQuery(listingSchema, request.query);
    const records = await uploads.list({ owner: ownerOf(request), limit, after });
    return {
      loras: records.map(uploadBody),
      // Pass it as 'after' for the next page.
      next: records.length === limit ? (records.at(-1)?.sha256 ?? null) : null,
    };
  });

  app.get<WithId>("/v1/loras/:id", async (request) => describedBody(await recordOf(request)));

  app.get("/v1/loras/inspect", async (request) => {
    // It fetches what the path names: an image on a page could ask for that.
    requireSameSite(request, settings);
    const { path } = parseQuery(inspectSchema, request.query);
    const gone = new AbortController();
    request.raw.socket.once("close", () => gone.abort());
    const wanted = { path, owner: ownerOf(request), hfToken: settings.hub.token };
    try {
      const file = await findLora(
        { ...wanted, signal: gone.signal, onProgress: () => {} },
        settings,
        uploads,
      );
      return { description: await describeInThread(file, "The LoRA") };
    } catch (error) {
      if (error instanceof LoraNotFoundError || error instanceof UploadNotFoundError)
        throw loraNotFound(path, error.message);
      throw refusalOf(error);
    }
  });

  app.delete<WithId>("/v1/loras/:id", async (request, reply) => {
    const { sha256 } = await recordOf(request);
    try {
      if (!(await uploads.remove(ownerOf(request), sha256))) throw uploadNotFound(sha256);
    } catch (error) {
      throw refusalOf(error);
    }
    return reply.code(204).send();
  });
}

function uploadBody({ sha256, name, bytes, created_at }: UploadRecord): object {
  return {
    id: sha256,
    path: uploadPath(sha256),
    name,
    bytes,
    created_at: formatTimestamp(created_at),
  };
}

function describedBody(record: UploadRecord): object {
  return { ...uploadBody(record), description: record.description };
}

/** The disk's own words for "full": no space, over quota, and a file larger than it takes. */
const fullCodes: readonly string[] = ["ENOSPC", "EDQUOT", "EFBIG"];

function refusalOf(error: unknown): unknown {
  if (error instanceof UploadsFullError) return new ApiError(507, "UPLOADS_FULL", error.message);
  if (error instanceof UploadInUseError) {
    return new ApiError(409, "LORA_IN_USE", error.message, { request_ids: error.requestIds });
  }
  if (error instanceof InputError) return new ApiError(400, "LORA_NOT_USABLE", error.message);
  if (error instanceof TransferError) return new ApiError(502, "LORA_NOT_USABLE", error.message);
  if (error instanceof Error && "code" in error && fullCodes.includes(String(error.code))) {
    const message = "The disk that holds uploads is full. Nothing was kept; ask the operator.";
    return new ApiError(507, "DISK_FULL", message);
  }
  return error;
}
