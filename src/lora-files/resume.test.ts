import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { half, lora, sendFile, site, temporaryCache } from "../../test/lora-site.ts";
import { CanceledError } from "../errors.ts";

const { get, list } = temporaryCache();

test("a cut download goes on where it ended", async () => {
  const { url, requests } = await site((request, response, count) =>
    sendFile(request, response, count === 1 ? half : lora.length),
  );
  const { file } = await get(url);
  expect(readFileSync(file).equals(lora)).toBe(true);
  expect(requests.map(({ headers }) => headers.range)).toEqual([undefined, `bytes=${half}-`]);
  expect(list()).toHaveLength(1);
});

test.each([
  ["has changed", { etag: '"v2"' }, lora],
  ["can't send ranges", { "accept-ranges": "none" }, lora],
])("a file that %s meanwhile is downloaded from its start", async (_, headers, body) => {
  const { url, requests } = await site((request, response, count) => {
    if (count === 1) sendFile(request, response, half);
    else response.writeHead(200, headers).end(body);
  });
  const { file } = await get(url);
  expect(readFileSync(file).equals(lora)).toBe(true);
  expect(requests).toHaveLength(2);
});

test.each([
  ["another range", { "content-range": `bytes 0-${lora.length - 1}/${lora.length}` }],
  [
    "another version",
    { "content-range": `bytes ${half}-${lora.length - 1}/${lora.length}`, etag: '"v2"' },
  ],
])("an answer with %s is not appended", async (_, headers) => {
  const { url, requests } = await site((request, response, count) => {
    if (count === 1) sendFile(request, response, half);
    else if (count === 2) response.writeHead(206, headers).end(Buffer.alloc(lora.length - half));
    else sendFile(request, response);
  });
  const { file } = await get(url);
  expect(readFileSync(file).equals(lora)).toBe(true);
  expect(requests.map(({ headers }) => headers.range)).toEqual([
    undefined,
    `bytes=${half}-`,
    undefined,
  ]);
});

test("a part too short to tell what it is is not gone on with", async () => {
  const { url, requests } = await site((request, response, count) =>
    sendFile(request, response, count === 1 ? 5 : lora.length),
  );
  expect(readFileSync((await get(url)).file).equals(lora)).toBe(true);
  expect(requests[1]!.headers.range).toBeUndefined();
});

test("parts that don't fit together cost one more download", async () => {
  const { url, requests } = await site((request, response) => sendFile(request, response));
  const { file } = await get(url);
  rmSync(file);
  writeFileSync(`${file}.part`, Buffer.alloc(half, "x"));
  writeFileSync(`${file}.part.json`, JSON.stringify({ etag: '"v1"', total: lora.length }));
  await get(url);
  expect(readFileSync(file).equals(lora)).toBe(true);
  expect(requests.map(({ headers }) => headers.range)).toEqual([
    undefined,
    `bytes=${half}-`,
    undefined,
  ]);
});

test.each(["", "{", '{"etag": 1}', '{"etag": "v", "total": 1e999}'])(
  "a note of an unfinished download that is damaged is not used: %j",
  async (note) => {
    const { url, requests } = await site((request, response) => sendFile(request, response));
    const { file } = await get(url);
    rmSync(file);
    writeFileSync(`${file}.part`, "x");
    writeFileSync(`${file}.part.json`, note);
    await get(url);
    expect(readFileSync(file).equals(lora)).toBe(true);
    expect(requests[1]!.headers.range).toBeUndefined();
  },
);

test("the signal ends it, and what has come is kept for the next time", async () => {
  const { url, requests } = await site((request, response, count) => {
    if (count > 1) return sendFile(request, response);
    response.writeHead(200, { etag: '"v1"', "content-length": lora.length });
    response.write(lora.subarray(0, half));
  });
  await expect(get(url, { signal: AbortSignal.timeout(200) })).rejects.toThrow(CanceledError);
  expect(readFileSync((await get(url)).file).equals(lora)).toBe(true);
  expect(requests[1]!.headers.range).toBe(`bytes=${half}-`);
});
