import { z } from "zod";
import type { StagedFile } from "../lora-files/stage.ts";
import type { LoraFacts } from "../wire/lora-answers.ts";
import type { Database, Sql } from "./database.ts";
import { UploadInUseError } from "./errors.ts";
import type { UploadContents } from "./upload-contents.ts";

const rowSchema = z.object({
  owner: z.string(),
  sha256: z.string(),
  name: z.string().nullable(),
  /** Postgres's bigint comes as text. */
  bytes: z.coerce.number(),
  /** As it was kept: only `add` writes it. */
  description: z.custom<LoraFacts>(),
  created_at: z.date(),
});

/** An uploaded LoRA of one owner; its id is its content's hash. */
export type UploadRecord = Readonly<z.output<typeof rowSchema>>;

const columns = Object.keys(rowSchema.shape).join(", ");

interface NewUpload {
  readonly owner: string;
  /** For people. */
  readonly name: string | null;
  /** Says what the file is; not asked if the owner has it already. @throws InputError */
  readonly describe: (file: string) => Promise<LoraFacts>;
}

export interface UploadListing {
  readonly owner: string;
  readonly limit: number;
  /** Id of the last upload of the page before. */
  readonly after?: string | undefined;
}

/** Uploaded LoRAs: who has which. */
export class Uploads {
  readonly contents: UploadContents;
  readonly #database: Database;

  constructor(database: Database, contents: UploadContents) {
    this.#database = database;
    this.contents = contents;
  }

  /**
   * Keeps a file that was received. When this returns it survives a crash.
   *
   * @returns the record; not created if the owner had the same content
   * @throws UploadsFullError, InputError if it is no LoRA
   */
  async add(
    staged: StagedFile,
    { owner, name, describe }: NewUpload,
  ): Promise<{ record: UploadRecord; created: boolean }> {
    const { sha256, bytes } = staged;
    const known = await this.get(owner, sha256);
    const description = known?.description ?? (await describe(staged.path));
    return this.contents.keep(staged, async (sql) => {
      const [row] = await sql.query(
        `INSERT INTO retake.upload (owner, sha256, name, bytes, description)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING ${columns}`,
        [owner, sha256, name, bytes, JSON.stringify(description)],
      );
      if (row !== undefined) return { record: rowSchema.parse(row), created: true };
      return { record: (await find(sql, owner, sha256))!, created: false };
    });
  }

  async get(owner: string, sha256: string): Promise<UploadRecord | undefined> {
    return find(this.#database, owner, sha256);
  }

  /** Newest first. */
  async list({ owner, limit, after }: UploadListing): Promise<UploadRecord[]> {
    const rows = await this.#database.query(
      `SELECT ${columns} FROM retake.upload
       WHERE owner = $1 AND ($2::text IS NULL OR (created_at, sha256) <
         (SELECT created_at, sha256 FROM retake.upload WHERE owner = $1 AND sha256 = $2))
       ORDER BY created_at DESC, sha256 DESC LIMIT $3`,
      [owner, after ?? null, limit],
    );
    return rows.map((row) => rowSchema.parse(row));
  }

  /** @returns whether there was one. @throws UploadInUseError */
  async remove(owner: string, sha256: string): Promise<boolean> {
    let removed = false;
    await this.contents.release(async (sql) => {
      const users = await sql.query(
        `SELECT id FROM retake.request JOIN retake.request_upload ON id = request_id
         WHERE request_upload.owner = $1 AND sha256 = $2 AND finished_at IS NULL LIMIT 10`,
        [owner, sha256],
      );
      if (users.length > 0) throw new UploadInUseError(users.map(({ id }) => String(id)));
      const [row] = await sql.query(
        "DELETE FROM retake.upload WHERE owner = $1 AND sha256 = $2 RETURNING bytes",
        [owner, sha256],
      );
      removed = row !== undefined;
      return row === undefined ? [] : [{ sha256, bytes: Number(row.bytes) }];
    });
    return removed;
  }
}

async function find(sql: Sql, owner: string, sha256: string): Promise<UploadRecord | undefined> {
  const [row] = await sql.query(
    `SELECT ${columns} FROM retake.upload WHERE owner = $1 AND sha256 = $2`,
    [owner, sha256],
  );
  return row === undefined ? undefined : rowSchema.parse(row);
}
