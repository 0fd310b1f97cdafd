import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { lora, sendFile, site, temporaryCache } from "../../test/lora-site.ts";
import { ScriptProcess } from "../../test/processes.ts";

const { get, settings } = temporaryCache();

const resolve = `
  import { resolveLoraSource } from "./src/lora-files/resolve.ts";
  const [url, settings] = args;
  const signal = new AbortController().signal;
  const { file } = await resolveLoraSource(url, JSON.parse(settings), { signal, onProgress() {} });
  process.stdout.write(file);`;

test("processes that want the same file at the same time download it once", async () => {
  const { url, requests } = await site((request, response) =>
    setTimeout(() => sendFile(request, response), 300),
  );
  const args = [url, JSON.stringify(settings())];
  const children = [new ScriptProcess(resolve, args), new ScriptProcess(resolve, args)];
  const [here, twice, ...there] = await Promise.all([
    get(url),
    get(url),
    ...children.map((child) => child.ended()),
  ]);
  expect([twice.file, ...there.map(({ stdout }) => stdout)]).toEqual(Array(3).fill(here.file));
  expect(readFileSync(here.file).equals(lora)).toBe(true);
  expect(requests).toHaveLength(1);
});
