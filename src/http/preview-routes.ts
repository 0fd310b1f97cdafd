import { randomUUID } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { InputError, listed } from "../errors.ts";
import type { RetakeJob, RetakeOptions } from "../job/job.ts";
import { kindOfJobFile } from "../job/job-files.ts";
import { realFolder } from "../lora-files/local.ts";
import { findLocalJob } from "../lora-files/local-job.ts";
import { listJobsInThread, readJobInThread } from "../lora-files/read-job.ts";
import { admit } from "../lora-files/turns.ts";
import { largestConfig } from "../preview/config-text.ts";
import { JobUploadNotFoundError } from "../queue/errors.ts";
import type { JobPage } from "../wire/preview-answers.ts";
import { mostJobFiles, parseManifest, parsePreviewRequest } from "../wire/preview-request.ts";
import { retakeOptionsOf } from "../wire/to-job.ts";
import { accept, checkWebhook } from "./accept.ts";
import { ApiError } from "./api-error.ts";
import { ownerOf } from "./auth.ts";
import { BodyError, readJsonBody } from "./body.ts";
import type { AppContext } from "./context.ts";
import { isComplete, jobUploadBody, jobUploadsUrl } from "./job-upload-routes.ts";
import { jobsQuery, nextPage, parseQuery, requestIdPattern } from "./queries.ts";
import type { Sender } from "./sender.ts";
import { senderOf } from "./sender.ts";
import { uploadName } from "./upload-body.ts";

const inputErrorCode = "JOB_NOT_USABLE";
/** Of one preview: the largest picture here, 4096 x 4096, has 50 MB before a format makes it smaller. */
const largestPreview = 2 ** 26;

/** A training's previews, taken again: what can be asked for, and the asking. */
export function addPreviewRoutes(app: FastifyInstance, context: AppContext): void {
  const { settings, jobUploads } = context;

  app.post("/v1/previews", { config: { inputErrorCode } }, async (http, reply) => {
    const parsed = parsePreviewRequest(readJsonBody(http));
    if (parsed.errors !== undefined) throw new BodyError(422, parsed.errors);
    const { body } = parsed;
    checkWebhook(body.webhook_url, settings.webhookKey);
    const options = retakeOptionsOf(body);
    const job: RetakeJob = {
      kind: "retake",
      id: randomUUID(),
      ...(body.folder === null
        ? await uploadedJob(http, body.upload ?? "")
        : await localJob(body.folder, options, senderOf(http, reply))),
      options,
      limitSeconds: body.limit_seconds,
    };
    return accept(
      http,
      {
        job,
        extra: { webhook_url: body.webhook_url },
        priority: body.priority,
        sealedToken: null,
        uploads: [],
      },
      context,
    );
  });

  app.get("/v1/previews/jobs", { config: { inputErrorCode } }, async (http, reply) => {
    const { limit, after } = parseQuery(jobsQuery, http.query);
    const sender = senderOf(http, reply);
    const root = await realFolder(settings.loraFolder);
    const jobs = await admit(sender.client, () => listJobsInThread({ root, limit, after }, sender));
    const folders = jobs.map(({ folder }) => folder);
    const page: JobPage = { jobs, next: nextPage(folders, limit) };
    return page;
  });

  app.post("/v1/previews/uploads", async (http, reply) => {
    const parsed = parseManifest(readJsonBody(http), {
      config: largestConfig,
      preview: largestPreview,
      lora: settings.loraSource.fileBytes,
    });
    if (parsed.errors !== undefined) throw new BodyError(422, parsed.errors);
    const { name, files } = parsed.body;
    const upload = await jobUploads.begin({
      id: randomUUID(),
      owner: ownerOf(http),
      name: uploadName(name) ?? "job",
      files: files.map(({ path, bytes, sha256 }) => ({
        ...{ path, bytes: Number(bytes), expected_sha256: sha256 },
      })),
    });
    const body = jobUploadBody(upload, jobUploadsUrl(http, context));
    http.log.info({ upload: body.id, files: files.length, bytes: body.bytes }, "upload begun");
    return reply.code(201).header("location", `/v1/previews/uploads/${body.id}`).send(body);
  });

  /** Read before it is accepted: what can't be used is said at once. */
  async function localJob(folder: string, options: RetakeOptions, sender: Sender) {
    const path = await findLocalJob(settings.loraFolder, folder);
    const task = { path, shown: folder, options };
    const facts = await admit(sender.client, () => readJobInThread(task, sender));
    if (facts.previews === 0)
      throw new InputError(
        `The job folder ${JSON.stringify(folder)} holds no previews in samples/.`,
      );
    if (facts.previews > mostJobFiles) {
      throw new InputError(
        `The job folder ${JSON.stringify(folder)} holds ${facts.previews} previews, and ${mostJobFiles} are the most of one request. Choose some with 'steps' or 'samples'.`,
      );
    }
    return { ...facts, source: { from: "disk", folder } as const };
  }

  /** Its configuration was read when it came. */
  async function uploadedJob(http: FastifyRequest, id: string) {
    const upload = requestIdPattern.test(id) ? await jobUploads.get(ownerOf(http), id) : undefined;
    if (upload === undefined) throw new JobUploadNotFoundError(id);
    const { model, name, files } = upload;
    if (!isComplete(upload) || model === null) {
      const missing = files.filter(({ sha256 }) => sha256 === null).map(({ path }) => path);
      throw new ApiError(
        409,
        "JOB_UPLOAD_INCOMPLETE",
        `The uploaded folder is not whole yet. These files are missing: ${listed(missing)}.`,
        { upload: id, missing: missing.length },
      );
    }
    const previews = files.filter(({ path }) => kindOfJobFile(path) === "preview").length;
    return { model, previews, source: { from: "upload", upload: id, name } as const };
  }
}
