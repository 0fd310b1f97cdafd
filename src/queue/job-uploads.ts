import { z } from "zod";
import type { StagedFile } from "../lora-files/stage.ts";
import type { Database, Sql } from "./database.ts";
import {
  FileThereError,
  JobUploadInUseError,
  JobUploadNotFoundError,
  TooManyJobUploadsError,
} from "./errors.ts";
import type { UploadContents } from "./upload-contents.ts";

const headSchema = z.object({
  id: z.uuid(),
  owner: z.string(),
  name: z.string(),
  /** That its configuration names; null until that has come. */
  model: z.string().nullable(),
  created_at: z.date(),
});
const headColumns = Object.keys(headSchema.shape).join(", ");

const fileSchema = z.object({
  path: z.string(),
  /** Postgres's bigint comes as text. */
  bytes: z.coerce.number(),
  /** As the manifest says; null: it says nothing. */
  expected_sha256: z.string().nullable(),
  /** Of what came; null: nothing yet. */
  sha256: z.string().nullable(),
});
const fileColumns = Object.keys(fileSchema.shape).join(", ");

export type JobUploadFile = Readonly<z.output<typeof fileSchema>>;
export type JobUploadHead = Readonly<z.output<typeof headSchema>>;

/** A job folder of one owner, as far as its files have come. */
export interface JobUpload extends JobUploadHead {
  readonly files: readonly JobUploadFile[];
}

export interface NewJobUpload {
  readonly id: string;
  readonly owner: string;
  /** For people. */
  readonly name: string;
  readonly files: readonly Pick<JobUploadFile, "path" | "bytes" | "expected_sha256">[];
}

interface JobUploadListing {
  readonly owner: string;
  readonly limit: number;
  /** Id of the last upload of the page before. */
  readonly after?: string | undefined;
}

/** Manifests without a request: their rows are bounded by nothing else. */
const mostUnused = 50;

/** Uploaded job folders: which files they have, and which of these have come. */
export class JobUploads {
  readonly contents: UploadContents;
  readonly #database: Database;

  constructor(database: Database, contents: UploadContents) {
    this.#database = database;
    this.contents = contents;
  }

  /**
   * Begins an upload. LoRAs that the owner has uploaded before, by the hash in the manifest, are there at once.
   *
   * @throws UploadsFullError, TooManyJobUploadsError
   */
  async begin({ id, owner, name, files }: NewJobUpload): Promise<JobUpload> {
    const known = await this.contents.transaction(async (sql) => {
      await requireFew(sql, owner);
      await sql.query("INSERT INTO retake.job_upload (id, owner, name) VALUES ($1, $2, $3)", [
        ...[id, owner, name],
      ]);
      // What is his under the same hash and length, and was read as a LoRA when it came.
      await sql.query(
        `INSERT INTO retake.job_upload_file (upload_id, path, bytes, expected_sha256, sha256)
         SELECT $1, path, bytes, expected_sha256, CASE WHEN path LIKE '%.safetensors' AND (
           EXISTS (SELECT 1 FROM retake.upload WHERE owner = $2 AND sha256 = expected_sha256
             AND upload.bytes = new.bytes)
           OR EXISTS (SELECT 1 FROM retake.job_upload_file AS other
             JOIN retake.job_upload ON job_upload.id = other.upload_id
             WHERE owner = $2 AND other.sha256 = new.expected_sha256
             AND other.bytes = new.bytes AND other.path LIKE '%.safetensors'))
           THEN expected_sha256 END
         FROM json_to_recordset($3) AS new (path text, bytes bigint, expected_sha256 text)`,
        [id, owner, JSON.stringify(files)],
      );
      return find(sql, owner, id);
    });
    const missing = known!.files.filter(({ sha256 }) => sha256 === null);
    try {
      await this.contents.requireRoom(missing.reduce((sum, { bytes }) => sum + bytes, 0));
    } catch (error) {
      await this.remove(owner, id);
      throw error;
    }
    return known!;
  }

  async get(owner: string, id: string): Promise<JobUpload | undefined> {
    return find(this.#database, owner, id);
  }

  /** Newest first, without their files. */
  async list({ owner, limit, after }: JobUploadListing): Promise<JobUploadHead[]> {
    const rows = await this.#database.query(
      `SELECT ${headColumns} FROM retake.job_upload
       WHERE owner = $1 AND ($2::uuid IS NULL OR (created_at, id) <
         (SELECT created_at, id FROM retake.job_upload WHERE owner = $1 AND id = $2))
       ORDER BY created_at DESC, id DESC LIMIT $3`,
      [owner, after ?? null, limit],
    );
    return rows.map((row) => headSchema.parse(row));
  }

  /**
   * Keeps one of the files. When this returns it survives a crash.
   *
   * @param model that the file names, if it is the folder's configuration
   * @throws UploadsFullError, JobUploadNotFoundError, FileThereError
   */
  async receive(
    { owner, id }: Pick<JobUploadHead, "owner" | "id">,
    path: string,
    { staged, model }: { readonly staged: StagedFile; readonly model: string | null },
  ): Promise<void> {
    await this.contents.keep(staged, async (sql) => {
      const [upload] = await sql.query(
        `UPDATE retake.job_upload SET used_at = clock_timestamp(), model = coalesce($3, model)
         WHERE owner = $1 AND id = $2 RETURNING id`,
        [owner, id, model],
      );
      if (upload === undefined) throw new JobUploadNotFoundError(id);
      const [file] = await sql.query(
        `UPDATE retake.job_upload_file SET sha256 = $3
         WHERE upload_id = $1 AND path = $2 AND (sha256 IS NULL OR sha256 = $3) RETURNING path`,
        [id, path, staged.sha256],
      );
      if (file === undefined) throw new FileThereError(path);
    });
  }

  /** @returns whether there was one. @throws JobUploadInUseError */
  async remove(owner: string, id: string): Promise<boolean> {
    let removed = false;
    await this.contents.release(async (sql) => {
      const users = await sql.query(
        "SELECT id FROM retake.request WHERE job_upload = $1 AND owner = $2 AND finished_at IS NULL LIMIT 10",
        [id, owner],
      );
      if (users.length > 0) throw new JobUploadInUseError(users.map((user) => String(user.id)));
      const files = await sql.query(
        `DELETE FROM retake.job_upload_file USING retake.job_upload
         WHERE job_upload.id = upload_id AND job_upload.id = $1 AND owner = $2
         RETURNING sha256, bytes`,
        [id, owner],
      );
      const [row] = await sql.query(
        "DELETE FROM retake.job_upload WHERE id = $1 AND owner = $2 RETURNING id",
        [id, owner],
      );
      removed = row !== undefined;
      return contentsOf(files);
    });
    return removed;
  }

  /** Removes what no request uses and nothing was done with since a time: uploads that were never finished above all. */
  async forgetUnused(before: Date): Promise<void> {
    const rows = await this.#database.query(
      `SELECT owner, id FROM retake.job_upload
       WHERE used_at < $1 AND NOT EXISTS (SELECT 1 FROM retake.request WHERE job_upload = job_upload.id)`,
      [before],
    );
    for (const { owner, id } of rows) {
      await this.remove(String(owner), String(id)).catch((error: unknown) => {
        // A request has taken it up meanwhile.
        if (!(error instanceof JobUploadInUseError)) throw error;
      });
    }
  }
}

/** Notes that a request uses an upload, so that it stays. @throws JobUploadNotFoundError */
export async function holdJobUpload(
  sql: Sql,
  { request, owner, upload }: { request: string; owner: string; upload: string },
): Promise<void> {
  const [row] = await sql.query(
    "UPDATE retake.job_upload SET used_at = clock_timestamp() WHERE owner = $1 AND id = $2 RETURNING id",
    [owner, upload],
  );
  if (row === undefined) throw new JobUploadNotFoundError(upload);
  await sql.query("UPDATE retake.request SET job_upload = $2 WHERE id = $1", [request, upload]);
}

async function requireFew(sql: Sql, owner: string): Promise<void> {
  const [row] = await sql.query(
    `SELECT count(*)::int AS count FROM retake.job_upload
     WHERE owner = $1 AND NOT EXISTS (SELECT 1 FROM retake.request WHERE job_upload = job_upload.id)`,
    [owner],
  );
  const count = Number(row?.count);
  if (count >= mostUnused) throw new TooManyJobUploadsError(count);
}

async function find(sql: Sql, owner: string, id: string): Promise<JobUpload | undefined> {
  const [head] = await sql.query(
    `SELECT ${headColumns} FROM retake.job_upload WHERE owner = $1 AND id = $2`,
    [owner, id],
  );
  if (head === undefined) return undefined;
  const files = await sql.query(
    `SELECT ${fileColumns} FROM retake.job_upload_file WHERE upload_id = $1 ORDER BY path`,
    [id],
  );
  return { ...headSchema.parse(head), files: files.map((file) => fileSchema.parse(file)) };
}

/** Each once, of the files that have come. */
function contentsOf(rows: readonly Record<string, unknown>[]) {
  const contents = new Map(
    rows
      .filter(({ sha256 }) => sha256 !== null)
      .map(({ sha256, bytes }) => [String(sha256), Number(bytes)]),
  );
  return [...contents].map(([sha256, bytes]) => ({ sha256, bytes }));
}
