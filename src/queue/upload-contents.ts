import { randomUUID } from "node:crypto";
import type { StagedFile } from "../lora-files/stage.ts";
import type { UploadStore } from "../lora-files/upload-folder.ts";
import type { Database, Sql } from "./database.ts";
import { UploadsFullError } from "./errors.ts";
import { locks } from "./migrations.ts";

/** A content that a record is about to have, or has had until now. */
interface Content {
  readonly sha256: string;
  readonly bytes: number;
}

/**
 * What clients uploaded: one file for each content, whoever has it and as what.
 * A file is there before its first record and goes after its last one; in
 * between, and after a crash, a pending entry stands for it.
 */
export class UploadContents {
  readonly store: UploadStore;
  readonly #database: Database;
  readonly #limit: number;

  /** @param limit bytes that all contents may have together */
  constructor(database: Database, store: UploadStore, limit: number) {
    this.#database = database;
    this.store = store;
    this.#limit = limit;
  }

  /**
   * Keeps a file that was received. When this returns it survives a crash.
   *
   * @param record writes who has it; the file goes again if that fails
   * @throws UploadsFullError
   */
  async keep<Result>(
    { path, sha256, bytes }: StagedFile,
    record: (sql: Sql) => Promise<Result>,
  ): Promise<Result> {
    const pending = await this.#reserve({ sha256, bytes });
    try {
      await this.store.keep(path, sha256);
      return await this.transaction(async (sql) => {
        const result = await record(sql);
        const [reserved] = await sql.query(
          "DELETE FROM retake.upload_pending WHERE id = $1 RETURNING id",
          [pending],
        );
        // Swept: it took so long that another node thought this one dead, and removed the file.
        if (reserved === undefined) throw new Error("an upload took too long to be kept");
        return result;
      });
    } catch (error) {
      await this.#collect(pending, sha256);
      throw error;
    }
  }

  /** Removes records, and then the files that nobody else has. @param remove says what the records had */
  async release(remove: (sql: Sql) => Promise<readonly Content[]>): Promise<void> {
    const pending = await this.#database.transaction(async (sql) => {
      // Nobody submits a request for it meanwhile.
      await sql.query("SELECT pg_advisory_xact_lock($1)", [locks.submit]);
      const entries = (await remove(sql)).map((content) => ({ ...content, id: randomUUID() }));
      for (const { id, ...content } of entries) await insertPending(sql, id, content);
      return entries;
    });
    for (const { id, sha256 } of pending) await this.#collect(id, sha256);
  }

  /** Bytes that may still be received. */
  async room(): Promise<number> {
    return this.#limit - (await totalBytes(this.#database));
  }

  /** @throws UploadsFullError if so many bytes more find no room */
  async requireRoom(bytes: number): Promise<void> {
    if (bytes > (await this.room())) throw this.full();
  }

  full(): UploadsFullError {
    return new UploadsFullError(this.#limit);
  }

  /** Removes the files of uploads that a crash cut off before this time. */
  async sweep(before: Date): Promise<void> {
    const rows = await this.#database.query(
      "SELECT id, sha256 FROM retake.upload_pending WHERE created_at < $1",
      [before],
    );
    for (const { id, sha256 } of rows) await this.#collect(String(id), String(sha256));
  }

  async #reserve(content: Content): Promise<string> {
    const id = randomUUID();
    await this.transaction(async (sql) => {
      await insertPending(sql, id, content);
      if ((await totalBytes(sql)) > this.#limit) throw this.full();
    });
    return id;
  }

  /** Ends a pending entry, and with it the file that nobody else has or is about to have. */
  async #collect(pending: string, sha256: string): Promise<void> {
    await this.transaction(async (sql) => {
      await sql.query("DELETE FROM retake.upload_pending WHERE id = $1", [pending]);
      const [user] = await sql.query(
        "SELECT 1 FROM retake.kept_content WHERE sha256 = $1 LIMIT 1",
        [sha256],
      );
      if (user === undefined) await this.store.remove(sha256);
    });
  }

  /** Writes records, one at a time on all nodes: a file is not removed while another record counts on it. */
  transaction<Result>(work: (sql: Sql) => Promise<Result>): Promise<Result> {
    return this.#database.transaction(async (sql) => {
      await sql.query("SELECT pg_advisory_xact_lock($1)", [locks.uploads]);
      return work(sql);
    });
  }
}

async function insertPending(sql: Sql, id: string, { sha256, bytes }: Content): Promise<void> {
  await sql.query("INSERT INTO retake.upload_pending (id, sha256, bytes) VALUES ($1, $2, $3)", [
    id,
    sha256,
    bytes,
  ]);
}

/** Each content counts once, however many have it. */
async function totalBytes(sql: Sql): Promise<number> {
  const [row] = await sql.query(
    "SELECT coalesce(sum(bytes), 0)::float8 AS bytes FROM retake.kept_content",
  );
  return Number(row?.bytes);
}
