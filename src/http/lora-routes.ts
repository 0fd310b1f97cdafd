import { rm } from "node:fs/promises";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { InputError } from "../errors.ts";
import { admit, describeInThread } from "../lora-files/describe.ts";
import { isUploadId, uploadPath } from "../lora-files/lora-path.ts";
import { findLora } from "../node/find-loras.ts";
import { UploadsFullError } from "../queue/errors.ts";
import type { UploadRecord } from "../queue/upload-records.ts";
import { formatTimestamp } from "../wire/from-job.ts";
import type { DescribedUpload, Inspected, Upload, UploadPage } from "../wire/lora-answers.ts";
import { ApiError, uploadNotFound } from "./api-error.ts";
import { clientOf, ownerOf } from "./auth.ts";
import type { AppContext } from "./context.ts";
import { requireSameSite } from "./foreign-pages.ts";
import { inspectQuery, nextPage, parseQuery, uploadQuery, uploadsQuery } from "./queries.ts";
import type { ReceivedUpload } from "./upload-body.ts";
import { receiveUpload, uploadName } from "./upload-body.ts";

interface WithId {
  Params: { id: string };
}

const inputErrorCode = "LORA_NOT_USABLE";

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
    let taken = 0;
    const take = (bytes: number) => {
      taken += bytes;
      arriving += bytes;
      if (arriving > room) throw new UploadsFullError(settings.uploads.bytes);
    };
    try {
      const { fileBytes } = settings.loraSource;
      return await receiveUpload(request, uploads.store.stagingFolder, {
        ...{ fileBytes, admit: take, pace },
      });
    } finally {
      arriving -= taken;
    }
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
    try {
      const { record, created } = await keep(await receive(request), query.name, sender);
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

/** Who asks, and the signal that he has gone. */
interface Sender {
  readonly owner: string;
  readonly client: string;
  readonly signal: AbortSignal;
}

function senderOf(request: FastifyRequest, reply: FastifyReply): Sender {
  const gone = new AbortController();
  // The answer's, not the connection's: that may serve a thousand further requests.
  reply.raw.once("close", () => gone.abort());
  // Gone already: it would never say so again.
  if (reply.raw.destroyed) gone.abort();
  return { owner: ownerOf(request), client: clientOf(request), signal: gone.signal };
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

/** The disk's own words for "full": no space, over quota, and a file larger than it takes. */
const fullCodes: readonly string[] = ["ENOSPC", "EDQUOT", "EFBIG"];

function diskFull(error: unknown): unknown {
  if (!(error instanceof Error && "code" in error && fullCodes.includes(String(error.code))))
    return error;
  const message = "The disk that holds uploads is full. Nothing was kept; ask the operator.";
  return new ApiError(507, "DISK_FULL", message);
}
