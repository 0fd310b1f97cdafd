import { randomUUID } from "node:crypto";
import { z } from "zod";
import type { StagedFile } from "../lora-files/stage.ts";
import type { UploadStore } from "../lora-files/upload-folder.ts";
import type { LoraFacts } from "../wire/lora-answers.ts";
import type { Database, Sql } from "./database.ts";
import { UploadInUseError, UploadsFullError } from "./errors.ts";
import { locks } from "./migrations.ts";

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

/**
 * Uploaded LoRAs: who has which, and their files, of which there is one for
 * each content. A file is there before its first record and goes after its last
 * one; in between, and after a crash, a pending entry stands for it.
 */
export class Uploads {
  readonly store: UploadStore;
  readonly #database: Database;
  readonly #limit: number;

  constructor(database: Database, store: UploadStore, limit: number) {
    this.#database = database;
    this.store = store;
    this.#limit = limit;
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
    const pending = await this.#reserve(sha256, bytes);
    try {
      await this.store.keep(staged.path, sha256);
      return await this.#transaction(async (sql) => {
        const [row] = await sql.query(
          `INSERT INTO retake.upload (owner, sha256, name, bytes, description)
           VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING ${columns}`,
          [owner, sha256, name, bytes, JSON.stringify(description)],
        );
        const [reserved] = await sql.query(
          "DELETE FROM retake.upload_pending WHERE id = $1 RETURNING id",
          [pending],
        );
        // Swept: it took so long that another node thought this one dead, and removed the file.
        if (reserved === undefined) throw new Error("an upload took too long to be kept");
        if (row !== undefined) return { record: rowSchema.parse(row), created: true };
        return { record: (await find(sql, owner, sha256))!, created: false };
      });
    } catch (error) {
      await this.#collect(pending, sha256);
      throw error;
    }
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
    const pending = randomUUID();
    const removed = await this.#database.transaction(async (sql) => {
      // Nobody submits a request for it meanwhile.
      await sql.query("SELECT pg_advisory_xact_lock($1)", [locks.submit]);
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
      if (row !== undefined) await insertPending(sql, pending, sha256, Number(row.bytes));
      return row !== undefined;
    });
    if (removed) await this.#collect(pending, sha256);
    return removed;
  }

  /** Bytes that may still be received. */
  async room(): Promise<number> {
    return this.#limit - (await totalBytes(this.#database));
  }

  /** Removes the files of uploads that a crash cut off before this time. */
  async sweep(before: Date): Promise<void> {
    const rows = await this.#database.query(
      "SELECT id, sha256 FROM retake.upload_pending WHERE created_at < $1",
      [before],
    );
    for (const { id, sha256 } of rows) await this.#collect(String(id), String(sha256));
  }

  async #reserve(sha256: string, bytes: number): Promise<string> {
    const id = randomUUID();
    await this.#transaction(async (sql) => {
      await insertPending(sql, id, sha256, bytes);
      if ((await totalBytes(sql)) > this.#limit) throw new UploadsFullError(this.#limit);
    });
    return id;
  }

  /** Ends a pending entry, and with it the file that nobody else has or is about to have. */
  async #collect(pending: string, sha256: string): Promise<void> {
    await this.#transaction(async (sql) => {
      await sql.query("DELETE FROM retake.upload_pending WHERE id = $1", [pending]);
      const [user] = await sql.query(
        `SELECT 1 FROM retake.upload WHERE sha256 = $1
         UNION ALL SELECT 1 FROM retake.upload_pending WHERE sha256 = $1 LIMIT 1`,
        [sha256],
      );
      if (user === undefined) await this.store.remove(sha256);
    });
  }

  /** One at a time, on all nodes: a file is not removed while another upload counts on it. */
  #transaction<Result>(work: (sql: Sql) => Promise<Result>): Promise<Result> {
    return this.#database.transaction(async (sql) => {
      await sql.query("SELECT pg_advisory_xact_lock($1)", [locks.uploads]);
      return work(sql);
    });
  }
}

async function find(sql: Sql, owner: string, sha256: string): Promise<UploadRecord | undefined> {
  const [row] = await sql.query(
    `SELECT ${columns} FROM retake.upload WHERE owner = $1 AND sha256 = $2`,
    [owner, sha256],
  );
  return row === undefined ? undefined : rowSchema.parse(row);
}

async function insertPending(sql: Sql, id: string, sha256: string, bytes: number): Promise<void> {
  await sql.query("INSERT INTO retake.upload_pending (id, sha256, bytes) VALUES ($1, $2, $3)", [
    id,
    sha256,
    bytes,
  ]);
}

/** Each content counts once, however many have it. */
async function totalBytes(sql: Sql): Promise<number> {
  const [row] = await sql.query(
    `SELECT coalesce(sum(bytes), 0)::float8 AS bytes FROM
       (SELECT sha256, bytes FROM retake.upload UNION SELECT sha256, bytes FROM retake.upload_pending) AS kept`,
  );
  return Number(row?.bytes);
}
