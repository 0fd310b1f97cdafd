import { randomUUID } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { idOf } from "../../test/lora-upload.ts";
import { onBothDatabases, retakeJobFor, submission } from "../../test/test-queue.ts";
import { stageFile } from "../lora-files/stage.ts";
import { UploadFolder } from "../lora-files/upload-folder.ts";
import { FileThereError, JobUploadInUseError, JobUploadNotFoundError } from "./errors.ts";
import { JobUploads } from "./job-uploads.ts";
import { UploadContents } from "./upload-contents.ts";

const soon = () => new Date(Date.now() + 60_000);

onBothDatabases("uploaded job folders", (at) => {
  let files: string;
  let uploads: JobUploads;
  beforeEach(async () => {
    files = mkdtempSync(join(tmpdir(), "retake-job-files-"));
    const store = await UploadFolder.open(files, 0);
    uploads = new JobUploads(at().database, new UploadContents(at().database, store, 1000));
  });
  afterEach(() => rmSync(files, { recursive: true }));

  const begin = (owner: string, contents: Readonly<Record<string, string>>) =>
    uploads.begin({
      ...{ id: randomUUID(), owner, name: "job" },
      files: Object.entries(contents).map(([path, text]) => ({
        ...{ path, bytes: text.length, expected_sha256: idOf(Buffer.from(text)) },
      })),
    });
  async function send(owner: string, id: string, path: string, text: string, model?: string) {
    const staged = await stageFile(files, Readable.from([Buffer.from(text)]), () => {});
    await uploads.receive({ owner, id }, path, { staged, model: model ?? null });
  }
  const lora = { "a.safetensors": "weights" };

  test("files come one by one, and one content is one file for all who have it", async () => {
    const { id } = await begin("a", { ...lora, "config.yaml": "text", "samples/1.jpg": "text" });
    await send("a", id, "config.yaml", "text", "zimage");
    await send("a", id, "samples/1.jpg", "text");
    expect(readdirSync(files)).toHaveLength(1);
    const found = await uploads.get("a", id);
    expect(found?.model).toBe("zimage");
    expect(found?.files.map(({ sha256 }) => sha256 !== null)).toEqual([false, true, true]);
    expect(await uploads.get("b", id)).toBeUndefined();
    const stolen = send("b", id, "a.safetensors", "weights");
    await expect(stolen).rejects.toThrow(JobUploadNotFoundError);
    const other = send("a", id, "config.yaml", "other text");
    await expect(other).rejects.toThrow(FileThereError);
    expect(readdirSync(files)).toHaveLength(1);
    expect(await uploads.remove("b", id)).toBe(false);
    expect(await uploads.remove("a", id)).toBe(true);
    expect(readdirSync(files)).toEqual([]);
  });

  test("an owner's LoRA is there at once, for that owner alone", async () => {
    const first = await begin("a", lora);
    await send("a", first.id, "a.safetensors", "weights");
    const [same, others] = [await begin("a", lora), await begin("b", lora)];
    expect(same.files[0]?.sha256).toBe(idOf(Buffer.from("weights")));
    expect(others.files[0]?.sha256).toBe(null);
    await uploads.remove("a", first.id);
    expect(readdirSync(files)).toHaveLength(1);
    await uploads.remove("a", same.id);
    expect(readdirSync(files)).toEqual([]);
  });

  test("a request keeps its folder until it has ended, and a day after it is forgotten", async () => {
    const { id } = await begin("a", lora);
    const job = retakeJobFor({ source: { from: "upload", upload: id, name: "job" } });
    const stolen = at().queue.submit(submission({ job, owner: "b" }));
    await expect(stolen).rejects.toThrow(JobUploadNotFoundError);
    expect(await at().queue.get(job.id)).toBeUndefined();
    await at().queue.submit(submission({ job, owner: "a" }));
    await expect(uploads.remove("a", id)).rejects.toThrow(JobUploadInUseError);
    await at().queue.cancel(job.id);
    await uploads.forgetUnused(soon());
    expect(await uploads.get("a", id)).toBeDefined();
    await at().queue.remove(job.id);
    await uploads.forgetUnused(new Date(Date.now() - 60_000));
    expect(await uploads.get("a", id)).toBeDefined();
    await uploads.forgetUnused(soon());
    expect(await uploads.get("a", id)).toBeUndefined();
  });

  test("a folder that is deleted after its request has ended takes nothing of it along", async () => {
    const { id } = await begin("a", lora);
    const job = retakeJobFor({ source: { from: "upload", upload: id, name: "job" } });
    await at().queue.submit(submission({ job, owner: "a" }));
    await at().queue.cancel(job.id);
    expect(await uploads.remove("a", id)).toBe(true);
    expect((await at().queue.get(job.id))?.state).toBe("canceled");
  });

  test("sending and deleting at once: a record has its file, and a file its record", async () => {
    for (let round = 0; round < 10; round++) {
      const begun = await Promise.all(["a", "b"].map((owner) => begin(owner, lora)));
      await Promise.all(
        begun.flatMap(({ owner, id }) => [
          send(owner, id, "a.safetensors", "weights"),
          begin(owner, lora),
        ]),
      );
      const pages = await Promise.all(
        ["a", "b"].map((owner) => uploads.list({ owner, limit: 10 })),
      );
      await Promise.all([
        ...pages.flat().map(({ owner, id }) => uploads.remove(owner, id)),
        begin("c", lora),
      ]);
      expect(readdirSync(files)).toEqual([]);
      await uploads.forgetUnused(soon());
    }
  });
});
