import type { Job } from "../job/job.ts";
import { noSuchUpload } from "../lora-files/local.ts";
import { uploadPath } from "../lora-files/lora-path.ts";
import type { Sql } from "./database.ts";
import { IdempotencyConflictError } from "./errors.ts";
import { holdJobUpload } from "./job-uploads.ts";
import type { RequestRecord } from "./record.ts";
import { parseRecord, recordColumns } from "./record.ts";

export interface Submission {
  readonly job: Job;
  /** What else belongs to the request, such as where its webhook goes. */
  readonly extra: RequestRecord["extra"];
  readonly priority: number;
  /** Whose request it is; "" where nobody is asked for a key. */
  readonly owner: string;
  /** The request's hf_token as TokenSeal hides it, or null. */
  readonly sealedToken: string | null;
  /** Ids of the owner's uploads that the job needs. */
  readonly uploads: readonly string[];
  readonly idempotency?: Idempotency | undefined;
}

/** A client's word that two requests are one. */
export interface Idempotency {
  readonly key: string;
  /** Says whether what was asked for is the same: a hash of the request as it came. */
  readonly fingerprint: string;
}

/** The request that came with a key before, if any. @throws IdempotencyConflictError if it asked for something else */
export async function findByKey(
  sql: Sql,
  owner: string,
  { key, fingerprint }: Idempotency,
): Promise<RequestRecord | undefined> {
  const [row] = await sql.query(
    "SELECT request_id, fingerprint FROM retake.idempotency WHERE owner = $1 AND key = $2",
    [owner, key],
  );
  if (row === undefined) return undefined;
  if (row.fingerprint !== fingerprint) throw new IdempotencyConflictError();
  const [record] = await sql.query(`SELECT ${recordColumns} FROM retake.request WHERE id = $1`, [
    row.request_id,
  ]);
  return parseRecord(record);
}

/** Notes which uploads a request needs, so that they stay. @throws LoraNotFoundError, JobUploadNotFoundError */
export async function holdUploads(
  sql: Sql,
  { job, owner, uploads }: Pick<Submission, "job" | "owner" | "uploads">,
): Promise<void> {
  for (const sha256 of new Set(uploads)) {
    const [row] = await sql.query(
      `INSERT INTO retake.request_upload (request_id, owner, sha256)
       SELECT $1, owner, sha256 FROM retake.upload WHERE owner = $2 AND sha256 = $3
       RETURNING sha256`,
      [job.id, owner, sha256],
    );
    if (row === undefined) throw noSuchUpload(uploadPath(sha256));
  }
  if (job.kind === "retake" && job.source.from === "upload")
    await holdJobUpload(sql, { request: job.id, owner, upload: job.source.upload });
}
