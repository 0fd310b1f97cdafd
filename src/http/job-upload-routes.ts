import { rm } from "node:fs/promises";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { configNames, kindOfJobFile } from "../job/job-files.ts";
import { checkInThread } from "../lora-files/describe.ts";
import { readConfigInThread } from "../lora-files/read-job.ts";
import type { StagedFile } from "../lora-files/stage.ts";
import { stageFile, uploadedLoraCheck } from "../lora-files/stage.ts";
import { admit } from "../lora-files/turns.ts";
import { JobUploadNotFoundError } from "../queue/errors.ts";
import type { JobUpload, JobUploadFile, JobUploadHead } from "../queue/job-uploads.ts";
import { formatTimestamp } from "../wire/from-job.ts";
import type { DescribedJobUpload, JobUploadPage } from "../wire/preview-answers.ts";
import { ApiError } from "./api-error.ts";
import { diskFull } from "./arrivals.ts";
import { ownerOf } from "./auth.ts";
import type { AppContext } from "./context.ts";
import { linksFor } from "./links.ts";
import { jobUploadsQuery, nextPage, parseQuery, requestIdPattern } from "./queries.ts";
import type { Sender } from "./sender.ts";
import { senderOf } from "./sender.ts";
import { paced } from "./slow-bodies.ts";
import { requirePlain } from "./upload-body.ts";

interface WithId {
  Params: { id: string };
}
interface WithFile {
  Params: { id: string; "*": string };
}

/** Uploaded job folders but for their manifests, which are JSON as other bodies are. */
export function addJobUploadRoutes(app: FastifyInstance, context: AppContext): void {
  const { jobUploads, arrivals, pace } = context;

  app.get("/v1/previews/uploads", async (request) => {
    const { limit, after } = parseQuery(jobUploadsQuery, request.query);
    const heads = await jobUploads.list({ owner: ownerOf(request), limit, after });
    const baseUrl = jobUploadsUrl(request, context);
    const page: JobUploadPage = {
      uploads: heads.map((head) => headBody(head, baseUrl)),
      next: nextPage(
        heads.map(({ id }) => id),
        limit,
      ),
    };
    return page;
  });

  app.get<WithId>("/v1/previews/uploads/:id", async (request) =>
    jobUploadBody(await uploadOf(request, context), jobUploadsUrl(request, context)),
  );

  app.put<WithFile>(
    "/v1/previews/uploads/:id/files/*",
    { config: { largeBody: true, inputErrorCode: "FILE_NOT_USABLE" } },
    async (request, reply) => {
      const upload = await uploadOf(request, context);
      const path = request.params["*"];
      const file = upload.files.find((one) => one.path === path);
      if (file === undefined) throw new JobUploadNotFoundError(upload.id, path);
      try {
        await receive(upload, file, request, reply);
      } catch (error) {
        throw diskFull(error);
      }
      return reply.code(204).send();
    },
  );

  app.delete<WithId>("/v1/previews/uploads/:id", async (request, reply) => {
    const { owner, id } = await uploadOf(request, context);
    if (!(await jobUploads.remove(owner, id))) throw new JobUploadNotFoundError(id);
    return reply.code(204).send();
  });

  async function receive(
    upload: JobUpload,
    file: JobUploadFile,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<void> {
    requirePlain(request);
    const sender = senderOf(request, reply);
    const declared = request.headers["content-length"];
    if (declared !== undefined && Number(declared) !== file.bytes)
      throw mismatch(file, `${declared} bytes`);
    const staged = await arrivals.receive((take) => {
      const check = lengthCheck(file);
      const look = kindOfJobFile(file.path) === "lora" ? uploadedLoraCheck() : () => {};
      return stageFile(
        jobUploads.contents.store.stagingFolder,
        paced(request.raw, pace),
        (piece) => {
          check(piece);
          take(piece.length);
          look(piece);
        },
      );
    });
    try {
      if (staged.bytes !== file.bytes) throw mismatch(file, `${staged.bytes} bytes`);
      if (file.expected_sha256 !== null && staged.sha256 !== file.expected_sha256)
        throw mismatch(file, `a content with the SHA-256 ${staged.sha256}`);
      const model = await admit(sender.client, () => checkFile(file, upload, staged, sender));
      await jobUploads.receive(upload, file.path, { staged, model });
    } finally {
      await rm(staged.path, { force: true });
    }
  }
}

/** @returns the model that the file names, if it is the configuration that counts. @throws InputError if it is not what it should be */
async function checkFile(
  { path }: JobUploadFile,
  { files }: JobUpload,
  staged: StagedFile,
  sender: Sender,
): Promise<string | null> {
  const kind = kindOfJobFile(path);
  const config = configNames.find((name) => files.some((one) => one.path === name));
  if (path === config) return readConfigInThread(staged.path, path, sender);
  if (kind === "lora") await checkInThread(staged.path, path, sender.signal);
  // A picture that can't be read is a line of the report.
  return null;
}

/** @throws JobUploadNotFoundError */
async function uploadOf(
  request: FastifyRequest<WithId>,
  { jobUploads }: Pick<AppContext, "jobUploads">,
): Promise<JobUpload> {
  const { id } = request.params;
  // Somebody else's upload is as good as none.
  const upload = requestIdPattern.test(id) ? await jobUploads.get(ownerOf(request), id) : undefined;
  if (upload === undefined) throw new JobUploadNotFoundError(id);
  return upload;
}

function lengthCheck(file: JobUploadFile): (piece: Uint8Array) => void {
  let received = 0;
  return (piece) => {
    received += piece.length;
    if (received > file.bytes) throw mismatch(file, "more");
  };
}

function mismatch({ path, bytes, expected_sha256: hash }: JobUploadFile, came: string): ApiError {
  const expected = `${bytes} bytes${hash === null ? "" : ` with the SHA-256 ${hash}`}`;
  return new ApiError(
    400,
    "UPLOAD_MISMATCH",
    `The manifest says that ${JSON.stringify(path)} has ${expected}, and ${came} came. Nothing was kept; send it again, or begin a new upload.`,
  );
}

export function jobUploadsUrl(request: FastifyRequest, context: AppContext): string {
  return `${linksFor(request, context).baseUrl}/v1/previews/uploads`;
}

function headBody({ id, name, created_at, model }: JobUploadHead, baseUrl: string) {
  return { id, name, created_at: formatTimestamp(created_at), model, url: `${baseUrl}/${id}` };
}

export function jobUploadBody(upload: JobUpload, baseUrl: string): DescribedJobUpload {
  const head = headBody(upload, baseUrl);
  return {
    ...head,
    complete: isComplete(upload),
    bytes: upload.files.reduce((sum, { bytes }) => sum + bytes, 0),
    files: upload.files.map(({ path, bytes, sha256 }) => ({
      path,
      bytes,
      sha256,
      received: sha256 !== null,
      url: `${head.url}/files/${path.split("/").map(encodeURIComponent).join("/")}`,
    })),
  };
}

export function isComplete({ files }: JobUpload): boolean {
  return files.every(({ sha256 }) => sha256 !== null);
}
