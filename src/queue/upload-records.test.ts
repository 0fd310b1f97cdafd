import { randomUUID } from "node:crypto";
import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { prepareQueue } from "../../test/prepared.ts";
import { describeLora } from "../lora/describe.ts";
import { stageFile } from "../lora-files/stage.ts";
import { UploadFolder } from "../lora-files/upload-folder.ts";
import type { Database } from "./database.ts";
import { openEmbedded } from "./database.ts";
import { UploadsFullError } from "./errors.ts";
import { UploadContents } from "./upload-contents.ts";
import { Uploads } from "./upload-records.ts";

let folder: string;
let files: string;
let database: Database;
let contents: UploadContents;
let uploads: Uploads;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-upload-records-"));
  files = join(folder, "uploads");
  await prepareQueue(folder);
  database = await openEmbedded(folder);
});
afterAll(async () => {
  await database.close();
  rmSync(folder, { recursive: true });
});
beforeEach(async () => {
  rmSync(files, { recursive: true, force: true });
  for (const table of ["upload", "upload_pending"])
    await database.query(`DELETE FROM retake.${table}`);
  contents = new UploadContents(database, await UploadFolder.open(files, 0), 1000);
  uploads = new Uploads(database, contents);
});

const safetensors = (text: string) => {
  const bytes = Buffer.from(`01234567{${text}`);
  bytes.writeBigUInt64LE(BigInt(bytes.length - 8));
  return bytes;
};

/** Of another file: here it only has to be kept. */
const description = await describeLora(
  fileURLToPath(new URL("../../demo/loras/zorple.safetensors", import.meta.url)),
);

async function add(owner: string, text: string, describe = async () => description) {
  const source = Readable.from([safetensors(text)]);
  const staged = await stageFile(files, source, () => {});
  const added = uploads.add(staged, { owner, name: null, describe });
  return added.finally(() => rmSync(staged.path, { force: true }));
}

const fileOf = (sha256: string) => join(files, `upload-${sha256}.safetensors`);

test("one file for all who have it, until the last one deletes it", async () => {
  const { record, created } = await add("a", "x");
  expect(created).toBe(true);
  expect(await add("a", "x")).toEqual({ record, created: false });
  expect((await add("b", "x")).created).toBe(true);
  expect(readdirSync(files)).toHaveLength(1);
  expect(await uploads.remove("c", record.sha256)).toBe(false);
  expect(await uploads.remove("a", record.sha256)).toBe(true);
  expect(existsSync(fileOf(record.sha256))).toBe(true);
  expect(await uploads.remove("b", record.sha256)).toBe(true);
  expect(readdirSync(files)).toEqual([]);
});

test("the bound is exact, counts each content once, and what was refused leaves nothing", async () => {
  const big = "x".repeat(500);
  const { record } = await add("a", big);
  await add("b", big);
  expect(await contents.room()).toBe(1000 - record.bytes);
  const both = await Promise.allSettled([add("a", `${big}1`), add("b", `${big}2`)]);
  expect(both.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  await expect(add("a", `${big}3`)).rejects.toThrow(UploadsFullError);
  expect(readdirSync(files)).toHaveLength(1);
  expect(await contents.room()).toBe(1000 - record.bytes);
  const refused = add("a", "y", () => Promise.reject(new Error("no LoRA")));
  await expect(refused).rejects.toThrow("no LoRA");
  expect(readdirSync(files)).toHaveLength(1);
});

test("what a crash left between a file and its record is swept; what has a record stays", async () => {
  const { record } = await add("a", "x");
  const lost = "0".repeat(64);
  copyFileSync(fileOf(record.sha256), fileOf(lost));
  for (const sha256 of [lost, record.sha256]) {
    await database.query(
      "INSERT INTO retake.upload_pending (id, sha256, bytes) VALUES ($1, $2, 10)",
      [randomUUID(), sha256],
    );
  }
  await contents.sweep(new Date(Date.now() - 60_000));
  expect(readdirSync(files)).toHaveLength(2); // another node may be at it
  await contents.sweep(new Date(Date.now() + 1000));
  expect(readdirSync(files)).toEqual([`upload-${record.sha256}.safetensors`]);
  expect(await contents.room()).toBe(1000 - record.bytes);
});

test("adding and deleting at once: a record has its file, and a file its record", async () => {
  const ids = ["p", "q"];
  for (let round = 0; round < 20; round++) {
    await Promise.all(
      ids.flatMap((text) =>
        ["a", "b"].flatMap((owner) => [
          add(owner, text),
          uploads.list({ owner, limit: 10 }).then(async (records) => {
            for (const { sha256 } of records) await uploads.remove(owner, sha256);
          }),
        ]),
      ),
    );
    const records = [
      ...(await uploads.list({ owner: "a", limit: 10 })),
      ...(await uploads.list({ owner: "b", limit: 10 })),
    ];
    const expected = [...new Set(records.map(({ sha256 }) => fileOf(sha256)))].sort();
    expect(
      readdirSync(files)
        .map((name) => join(files, name))
        .sort(),
    ).toEqual(expected);
  }
});
