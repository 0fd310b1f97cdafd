import { readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { half, lora, sendFile, site, temporaryCache } from "../../test/lora-site.ts";
import { InputError } from "../errors.ts";
import { TransferError } from "../net/errors.ts";
import { resolveLoraSource } from "./resolve.ts";

const token = "hf_private0123456789";
const { folder, get, list, settings } = temporaryCache();

test("downloaded once, then taken from the cache under the same name", async () => {
  const { url, requests } = await site((request, response) => sendFile(request, response));
  const progress: unknown[] = [];
  const first = await resolveLoraSource(`${url}/a%20b.safetensors?key=1#x`, settings(), {
    signal: new AbortController().signal,
    onProgress: (at) => progress.push(at),
  });
  expect(first.cached).toBe(false);
  expect(readFileSync(first.file).equals(lora)).toBe(true);
  expect(progress.at(-1)).toEqual({ received: lora.length, total: lora.length });
  expect(await get(`${url}/a%20b.safetensors?key=1`)).toEqual({ file: first.file, cached: true });
  expect(requests).toHaveLength(1);
  expect(list()).toEqual([expect.stringMatching(/^a_b_[0-9a-f]{16}\.safetensors$/)]);
});

test.each([
  ["a web page", "<!doctype html><html><body>private words</body></html>", "text/html"],
  ["a web page", "<html>private words</html>", "application/octet-stream"],
  ["a web page", "  \n<!DOCTYPE html>private words", "binary/octet-stream"],
  ["a zip archive", "PK\x03\x04 private words", "application/zip"],
  ["a Python pickle", Buffer.from("\x80\x04private words", "latin1"), "application/octet-stream"],
  ["gzip-compressed data", gzipSync(Buffer.alloc(1_000_000)), "application/octet-stream"],
  ["a Git LFS pointer", "version https://git-lfs.github.com/spec/v1", "text/plain"],
  ["a JSON text", '{"error": "private words"}', "application/json"],
  ["something else", Buffer.alloc(1000), "application/octet-stream"],
])("%s is refused at once", async (what, body, type) => {
  const { url, requests } = await site((_, response) =>
    response.writeHead(200, { "content-type": type }).end(body),
  );
  const error: Error = await get(`${url}/lora.safetensors?token=s3cret`).catch((error) => error);
  expect(error).toBeInstanceOf(InputError);
  expect(error.message).toContain(`/lora.safetensors gives ${what}`);
  expect(error.message).not.toMatch(/s3cret|private words|retake-lora-cache/);
  expect(requests).toHaveLength(1);
  expect(list()).toEqual([]);
});

test("a cut and clean-ended file is refused, with the link in the message and not our path", async () => {
  const { url } = await site((_, response) => response.end(lora.subarray(0, half)));
  const error: Error = await get(`${url}/lora?token=s3cret`).catch((error) => error);
  expect(error).toBeInstanceOf(InputError);
  expect(error.message).toMatch(
    /^http:\/\/127.0.0.1:\d+\/lora is not a whole safetensors file: it is cut off/,
  );
  expect(list()).toEqual([]);
});

test.each([401, 403, 404])("status %d is final and says what to do", async (status) => {
  const { url, requests } = await site((_, response) =>
    response.writeHead(status).end("private words"),
  );
  const error: Error = await get(`${url}/a?token=s3cret`, { hfToken: token }).catch((e) => e);
  expect(error).toBeInstanceOf(InputError);
  expect(error.message).toMatch(status === 404 ? /Check the link/ : /site's own key/);
  expect(error.message).not.toMatch(/s3cret|private words|hf_/);
  expect(requests).toHaveLength(1);
  expect(requests[0]!.headers.authorization).toBeUndefined();
});

test("status 500 and a cut connection are tried again, a wait that was asked for is kept", async () => {
  const times: number[] = [];
  const { url } = await site((request, response, count) => {
    times.push(performance.now());
    if (count === 1) response.writeHead(500).end();
    else if (count === 2) response.destroy();
    else if (count === 3) response.writeHead(429, { "retry-after": "1" }).end();
    else sendFile(request, response);
  });
  expect((await get(url)).cached).toBe(false);
  expect(times[3]! - times[2]!).toBeGreaterThan(950);
});

test("it gives up after five attempts, and at once when it is asked to wait too long", async () => {
  const broken = await site((_, response) => response.writeHead(503).end());
  await expect(get(broken.url)).rejects.toThrow(TransferError);
  expect(broken.requests).toHaveLength(5);
  const busy = await site((_, response) =>
    response.writeHead(429, { "retry-after": "86400" }).end(),
  );
  await expect(get(busy.url)).rejects.toThrow("HTTP status 429");
  expect(busy.requests).toHaveLength(1);
});

test("a cache folder that can't be used: the client does not see its path", async () => {
  writeFileSync(join(folder(), "file"), "");
  const error: Error = await get("http://127.0.0.1/a", {
    cacheDir: join(folder(), "file/x"),
  }).catch((error) => error);
  expect(error.message).toContain("LORA_DOWNLOAD_CACHE_DIR");
  expect(error.message).not.toContain(folder());
});

test("a file beyond the limit is refused by its declared and by its real length", async () => {
  const declared = await site((request, response) => sendFile(request, response));
  await expect(get(declared.url, { fileBytes: 1000 })).rejects.toThrow(
    /has \d+ bytes, and 1000 is/,
  );
  const endless = await site((_, response) => {
    response.write(lora.subarray(0, 64));
    const more = () => {
      while (response.write(Buffer.alloc(65_536)));
    };
    response.on("drain", more);
    more();
  });
  await expect(get(endless.url, { fileBytes: 1_000_000 })).rejects.toThrow(
    /larger than the 1000000/,
  );
  expect(endless.requests).toHaveLength(1);
});

test("private addresses are refused, behind redirects too", async () => {
  await expect(get("http://127.0.0.2/a")).rejects.toThrow("not on the public internet");
  const { url } = await site((_, response) =>
    response.writeHead(302, { location: "http://169.254.169.254/" }).end(),
  );
  await expect(get(url)).rejects.toThrow(InputError);
});

test("a cached file that is not whole any more is fetched again", async () => {
  const { url, requests } = await site((request, response) => sendFile(request, response));
  const { file } = await get(url);
  for (const bad of [lora.subarray(0, half), Buffer.from("<html>"), Buffer.alloc(0)]) {
    writeFileSync(file, bad);
    expect(await get(url)).toEqual({ file, cached: false });
    expect(readFileSync(file).equals(lora)).toBe(true);
  }
  expect(requests).toHaveLength(4);
});

test("the least recently used files go first; those in use stay", async () => {
  const { url } = await site((request, response) => sendFile(request, response));
  const bound = { cacheBytes: lora.length * 2 };
  writeFileSync(join(folder(), "mine.safetensors"), "not the cache's");
  const files: string[] = [];
  for (const name of ["a", "b", "c"]) files.push((await get(`${url}/${name}`, bound)).file);
  expect(list()).toHaveLength(4); // all were used just now
  const lastUsed = (file: string, minutes: number) => {
    const time = new Date(Date.now() - minutes * 60_000);
    for (const path of [file, `${file}.checked`]) utimesSync(path, time, time);
  };
  lastUsed(files[0]!, 20);
  lastUsed(files[1]!, 30);
  await get(`${url}/a`, bound); // used again: no longer the oldest
  await get(`${url}/d`, bound);
  const left = list().map((name) => name[0]);
  expect(left).toEqual(["a", "c", "d", "m"]);
});
