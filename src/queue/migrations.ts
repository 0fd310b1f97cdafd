import type { Database, Sql } from "./database.ts";

/**
 * Each entry is applied once, in order, and never changed afterwards.
 *
 * `json`, not `jsonb`: a prompt may hold U+0000, which `jsonb` can't.
 */
const migrations: readonly (readonly string[])[] = [
  [
    `CREATE TABLE retake.request (
      id uuid PRIMARY KEY,
      state text NOT NULL DEFAULT 'in_queue',
      model text NOT NULL,
      owner text NOT NULL,
      priority int NOT NULL,
      job json NOT NULL,
      extra json NOT NULL,
      created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      started_at timestamptz,
      finished_at timestamptz,
      attempt int NOT NULL DEFAULT 0,
      node text,
      cancel_requested boolean NOT NULL DEFAULT false,
      progress json,
      result json,
      failure json,
      last_event int NOT NULL DEFAULT 0
    )`,
    "CREATE INDEX request_waiting ON retake.request (model, priority DESC, created_at) WHERE state = 'in_queue'",
    "CREATE INDEX request_listed ON retake.request (created_at DESC, id DESC)",
    "CREATE INDEX request_finished ON retake.request (finished_at) WHERE finished_at IS NOT NULL",
    `CREATE TABLE retake.event (
      request_id uuid NOT NULL REFERENCES retake.request ON DELETE CASCADE,
      id int NOT NULL,
      kind text NOT NULL,
      prompt_index int,
      data json NOT NULL,
      PRIMARY KEY (request_id, id)
    )`,
    `CREATE TABLE retake.idempotency (
      owner text NOT NULL,
      key text NOT NULL,
      fingerprint text NOT NULL,
      request_id uuid NOT NULL REFERENCES retake.request ON DELETE CASCADE,
      PRIMARY KEY (owner, key)
    )`,
    "CREATE INDEX idempotency_request ON retake.idempotency (request_id)",
  ],
  [
    // A request's hf_token, readable with a key that is not in the database; gone when the request ends.
    "ALTER TABLE retake.request ADD COLUMN sealed_token text",
    `CREATE TABLE retake.upload (
      owner text NOT NULL,
      sha256 text NOT NULL,
      name text,
      bytes bigint NOT NULL,
      description json NOT NULL,
      created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      PRIMARY KEY (owner, sha256)
    )`,
    "CREATE INDEX upload_content ON retake.upload (sha256)",
    // Files that are about to be kept or removed: what a crash leaves is found by these.
    `CREATE TABLE retake.upload_pending (
      id uuid PRIMARY KEY,
      sha256 text NOT NULL,
      bytes bigint NOT NULL,
      created_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )`,
    `CREATE TABLE retake.request_upload (
      request_id uuid NOT NULL REFERENCES retake.request ON DELETE CASCADE,
      owner text NOT NULL,
      sha256 text NOT NULL,
      PRIMARY KEY (request_id, sha256),
      FOREIGN KEY (owner, sha256) REFERENCES retake.upload ON DELETE CASCADE
    )`,
    "CREATE INDEX request_upload_content ON retake.request_upload (owner, sha256)",
  ],
  [
    // Workers look for these every second, among all that are kept for weeks.
    "CREATE INDEX request_open ON retake.request (model, priority DESC, created_at) WHERE finished_at IS NULL",
  ],
  [
    "ALTER TABLE retake.request ADD COLUMN prompts int",
    // Postgres reads nothing out of a value that holds U+0000.
    "UPDATE retake.request SET prompts = json_array_length(replace(job::text, '\\u0000', '\\u0001')::json->'prompts')",
    "ALTER TABLE retake.request ALTER COLUMN prompts SET NOT NULL",
  ],
  [
    // Contents that a file stands for.
    `CREATE VIEW retake.kept_content AS
      SELECT sha256, bytes FROM retake.upload UNION SELECT sha256, bytes FROM retake.upload_pending`,
  ],
  [
    // Job folders: a manifest, and its files as they come. A file without a hash has not come yet.
    `CREATE TABLE retake.job_upload (
      id uuid PRIMARY KEY,
      owner text NOT NULL,
      name text NOT NULL,
      model text,
      created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      used_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )`,
    "CREATE INDEX job_upload_listed ON retake.job_upload (owner, created_at DESC, id DESC)",
    `CREATE TABLE retake.job_upload_file (
      upload_id uuid NOT NULL REFERENCES retake.job_upload ON DELETE CASCADE,
      path text NOT NULL,
      bytes bigint NOT NULL,
      expected_sha256 text,
      sha256 text,
      PRIMARY KEY (upload_id, path)
    )`,
    "CREATE INDEX job_upload_content ON retake.job_upload_file (sha256) WHERE sha256 IS NOT NULL",
    `CREATE OR REPLACE VIEW retake.kept_content AS
      SELECT sha256, bytes FROM retake.upload
      UNION SELECT sha256, bytes FROM retake.upload_pending
      UNION SELECT sha256, bytes FROM retake.job_upload_file WHERE sha256 IS NOT NULL`,
    // A request is for pictures, or to take a job's previews again.
    "ALTER TABLE retake.request ADD COLUMN kind text NOT NULL DEFAULT 'pictures'",
    "ALTER TABLE retake.request ALTER COLUMN kind DROP DEFAULT",
    "ALTER TABLE retake.request ADD COLUMN job_upload uuid REFERENCES retake.job_upload ON DELETE SET NULL",
    "CREATE INDEX request_job_upload ON retake.request (job_upload) WHERE job_upload IS NOT NULL",
    // As text: Postgres reads nothing out of a value that holds U+0000.
    `UPDATE retake.request SET job = ('{"kind":"pictures",' || substr(job::text, 2))::json`,
  ],
];

/** What serialises those who open the queue, submit or change uploads, on all nodes: any numbers that nobody else uses. */
export const locks = { open: 7_265_001, submit: 7_265_002, uploads: 7_265_003 } as const;

/** Brings the tables up to this version. Nodes that start at once do it one after another: see `locks.open`. */
export async function migrate(database: Database): Promise<void> {
  await database.transaction(async (sql) => {
    await sql.query("CREATE SCHEMA IF NOT EXISTS retake");
    await sql.query("CREATE TABLE IF NOT EXISTS retake.version (version int NOT NULL)");
    const current = await currentVersion(sql);
    if (current > migrations.length) {
      throw new Error(
        `The queue was written by a later Retake (version ${current}; this one knows ${migrations.length}). Start that one.`,
      );
    }
    for (const statements of migrations.slice(current))
      for (const statement of statements) await sql.query(statement);
    await sql.query("DELETE FROM retake.version");
    await sql.query("INSERT INTO retake.version VALUES ($1)", [migrations.length]);
  });
}

async function currentVersion(sql: Sql): Promise<number> {
  const [row] = await sql.query("SELECT version FROM retake.version");
  return row === undefined ? 0 : Number(row.version);
}
