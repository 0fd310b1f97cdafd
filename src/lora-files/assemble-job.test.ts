import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { filesOfJob } from "../../test/job-folders.ts";
import { idOf } from "../../test/lora-upload.ts";
import { writeWhole } from "../files/whole.ts";
import { assembleJob } from "./assemble-job.ts";
import { UploadFolder, uploadFileName } from "./upload-folder.ts";
import { makeWorkFolder } from "./work-folder.ts";

const folder = mkdtempSync(join(tmpdir(), "retake-assemble-"));
/** Where tests run in memory, a folder on the disk: another file system. */
const disk = fileURLToPath(new URL("../../node_modules/.cache/assemble", import.meta.url));
afterAll(() => {
  for (const place of [folder, disk]) rmSync(place, { recursive: true, force: true });
});

const never = new AbortController().signal;
const files = filesOfJob("e2-lokr").map(({ path, content }) => ({
  ...{ path, content, sha256: idOf(content), bytes: content.length },
}));

async function storeIn(place: string): Promise<UploadFolder> {
  mkdirSync(place, { recursive: true });
  const store = await UploadFolder.open(place, 0);
  for (const { sha256, content } of files)
    await writeWhole(join(place, uploadFileName(sha256)), [content]);
  return store;
}

test.each([
  ["this file system", join(folder, "uploads")],
  ["another", disk],
])("uploads on %s become a folder, which goes when the run ends", async (_, place) => {
  const store = await storeIn(place);
  const work = await makeWorkFolder(folder);
  const assembled = join(work.folder, "job");
  await assembleJob(assembled, store, files, never);
  for (const { path, content, sha256 } of files) {
    expect(readFileSync(join(assembled, path)).equals(content)).toBe(true);
    const kept = statSync(join(place, uploadFileName(sha256)));
    const own = statSync(join(assembled, path));
    expect(own.ino === kept.ino).toBe(own.dev === kept.dev);
  }
  await work[Symbol.asyncDispose]();
  expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  expect(readFileSync(join(place, uploadFileName(files[0]!.sha256))).length).toBe(files[0]!.bytes);
});

test("a file that is not in the store any more is named by its hash", async () => {
  const place = join(folder, "gone");
  const store = await storeIn(place);
  rmSync(join(place, uploadFileName(files[0]!.sha256)));
  const assembling = assembleJob(join(folder, "job"), store, files, never);
  await expect(assembling).rejects.toThrow(`the upload ${files[0]!.sha256} is not`);
});
