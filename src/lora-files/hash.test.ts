import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { half, lora, sendAndCut, sendFile, site, temporaryCache } from "../../test/lora-site.ts";
import { TransferError } from "../net/errors.ts";

const { get, list } = temporaryCache();
const sha256 = createHash("sha256").update(lora).digest("hex");
const wrong = "0".repeat(64);

/** A hub that redirects to storage elsewhere, and says in its own answer what the file's hash is. */
async function hubWith(headers: Record<string, string>, upTo?: (count: number) => number) {
  const storage = await site((request, response, count) =>
    sendFile(request, response, upTo?.(count)),
  );
  const hub = await site((_, response) =>
    response.writeHead(302, { location: `${storage.url}/blob`, ...headers }).end(),
  );
  return { hubEndpoint: hub.url, storage };
}

test.each([
  ["X-Linked-ETag", { "x-linked-etag": `"${sha256}"`, etag: `"${wrong}"` }],
  ["ETag", { etag: `"${sha256}"` }],
  ["a weak one in capitals", { etag: `W/"${sha256.toUpperCase()}"` }],
  ["a tag that is no hash", { etag: '"33a64df551425fcc55e4d42a148795d9f25f89d4"' }],
])("%s that fits: the file is taken", async (_, headers) => {
  const { hubEndpoint } = await hubWith(headers);
  const { file } = await get("hf:o/r/a.safetensors", { hubEndpoint });
  expect(readFileSync(file).equals(lora)).toBe(true);
});

test("another hash than the hub's is an error, and nothing stays", async () => {
  const { hubEndpoint, storage } = await hubWith({ "x-linked-etag": `"${wrong}"` });
  const error: Error = await get("hf:o/r/a.safetensors", { hubEndpoint }).catch((e) => e);
  expect(error).toBeInstanceOf(TransferError);
  expect(error.message).toMatch(/o\/r\/resolve\/main\/a\.safetensors gave other bytes .* 0{64}/);
  expect(storage.requests).toHaveLength(1);
  expect(list()).toEqual([]);
});

test("a hash that a stranger's host tells proves nothing, and is not asked for", async () => {
  const { url } = await site((_, response) =>
    response.writeHead(200, { etag: `"${wrong}"`, "x-linked-etag": `"${wrong}"` }).end(lora),
  );
  expect((await get(`${url}/a`, { hubEndpoint: "https://hub.example" })).cached).toBe(false);
});

test("a download that goes on is checked as a whole", async () => {
  const first = (count: number) => (count === 1 ? half : lora.length);
  const { hubEndpoint, storage } = await hubWith({ "x-linked-etag": `"${sha256}"` }, first);
  const { file } = await get("hf:o/r/a.safetensors", { hubEndpoint });
  expect(readFileSync(file).equals(lora)).toBe(true);
  expect(storage.requests[1]!.headers.range).toBe(`bytes=${half}-`);

  // The first half is another file's with the same tag: begun anew, once.
  const mixed = Buffer.from(lora);
  mixed[half - 100]! ^= 1;
  const other = await site((request, response, count) => {
    if (count > 1) return sendFile(request, response);
    response.writeHead(200, { etag: '"v1"', "content-length": lora.length });
    sendAndCut(response, mixed.subarray(0, half));
  });
  const hub = await site((_, response) =>
    response
      .writeHead(302, { location: `${other.url}/blob`, "x-linked-etag": `"${sha256}"` })
      .end(),
  );
  const again = await get("hf:o/r/a.safetensors", { hubEndpoint: hub.url });
  expect(readFileSync(again.file).equals(lora)).toBe(true);
  expect(other.requests.map(({ headers }) => headers.range)).toEqual([
    undefined,
    `bytes=${half}-`,
    undefined,
  ]);
});

test("a site with keys in its links, redirects and Content-Disposition", async () => {
  const storage = await site((request, response) => {
    response.setHeader("content-disposition", 'attachment; filename="../../My LoRA.safetensors"');
    sendFile(request, response);
  });
  const models = await site((request, response) => {
    const { searchParams } = new URL(request.url!, "http://x");
    if (searchParams.get("token") !== "k3y") return response.writeHead(401).end('{"error":"x"}');
    const location = `${storage.url}/model/1/my.safetensors?X-Amz-Signature=s1gned&response-content-disposition=x`;
    return response.writeHead(307, { location }).end();
  });
  const link = `${models.url}/api/download/models/12345?type=Model&format=SafeTensor`;
  const { file } = await get(`${link}&token=k3y`);
  expect(readFileSync(file).equals(lora)).toBe(true);
  // Named after the link, never after what a stranger's header says.
  expect(list()).toEqual([expect.stringMatching(/^12345_[0-9a-f]{16}\.safetensors$/)]);
  expect(storage.requests[0]!.headers.authorization).toBeUndefined();
  const error: Error = await get(link).catch((e) => e);
  expect(error.message).toMatch(/needs a login \(HTTP status 401\)\. Put the site's own key/);
  const wrongKey: Error = await get(`${link}&token=wr0ng`).catch((e) => e);
  expect(wrongKey.message).not.toMatch(/wr0ng|s1gned/);
});
