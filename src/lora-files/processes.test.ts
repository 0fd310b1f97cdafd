import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { half, lora, sendFile, site, temporaryCache } from "../../test/lora-site.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const { folder, get, list, settings } = temporaryCache();

/** Another process that resolves the same link; prints its file. */
function otherProcess(url: string): ChildProcess & { stdout: NodeJS.ReadableStream } {
  const script = `
    import { resolveLoraSource } from "./src/lora-files/resolve.ts";
    const [url, settings] = process.argv.slice(1);
    const signal = new AbortController().signal;
    const { file } = await resolveLoraSource(url, JSON.parse(settings), { signal, onProgress() {} });
    process.stdout.write(file);`;
  const args = ["--input-type=module", "--eval", script, "--", url, JSON.stringify(settings())];
  const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

test("processes that want the same file at the same time download it once", async () => {
  const { url, requests } = await site((request, response) =>
    setTimeout(() => sendFile(request, response), 300),
  );
  const children = [otherProcess(url), otherProcess(url)];
  const [here, twice, ...there] = await Promise.all([
    get(url),
    get(url),
    ...children.map(({ stdout }) => text(stdout)),
  ]);
  expect([twice.file, ...there]).toEqual([here.file, here.file, here.file]);
  expect(readFileSync(here.file).equals(lora)).toBe(true);
  expect(requests).toHaveLength(1);
});

test("a process killed in the middle leaves its part, and nobody waits for its lock", async () => {
  const { url, requests } = await site((request, response, count) => {
    if (count > 1) return sendFile(request, response);
    response.writeHead(200, { etag: '"v1"', "content-length": lora.length });
    response.write(lora.subarray(0, half));
  });
  const child = otherProcess(url);
  const partSize = () => {
    const part = list().find((name) => name.endsWith(".part"));
    return part === undefined ? 0 : readFileSync(join(folder(), part)).length;
  };
  while (partSize() < half) await wait(20);
  child.kill("SIGKILL");
  await once(child, "exit");

  expect(readFileSync((await get(url)).file).equals(lora)).toBe(true);
  expect(requests[1]!.headers.range).toBe(`bytes=${half}-`);
  expect(list()).toHaveLength(1);
});
