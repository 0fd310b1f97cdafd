import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { expect, test } from "vitest";
import { lora, sendFile, site, temporaryCache } from "../../test/lora-site.ts";
import { InputError } from "../errors.ts";

const token = "hf_private0123456789";
const { get, list } = temporaryCache();

/** A hub with an open repository, one that needs the token, and files on a host of their own. */
async function hub(): Promise<{ url: string; seen: [string, string | undefined][] }> {
  const seen: [string, string | undefined][] = [];
  const note = ({ url, headers }: IncomingMessage) => void seen.push([url!, headers.authorization]);
  const storage = await site((request, response) => {
    note(request);
    sendFile(request, response);
  });
  const lists: Record<string, string[]> = {
    "o/one": ["README.md", "one.safetensors"],
    "o/two": ["b.safetensors", "a.safetensors"],
    "o/none": ["README.md"],
    "o/many": Array.from({ length: 100_000 }, (_, i) => `${i}.txt`),
    "o/gated": ["gated.safetensors"],
  };
  const { url } = await site((request, response) => {
    note(request);
    const [, repository = ""] = /^(?:\/api\/models)?\/(o\/[a-z]+)\//.exec(request.url!) ?? [];
    if (repository === "o/gated" && request.headers.authorization !== `Bearer ${token}`) {
      return response.writeHead(401).end("private words");
    }
    if (!request.url!.startsWith("/api/")) {
      return response.writeHead(302, { location: `${storage.url}/blob?Signature=s3cret` }).end();
    }
    const siblings = lists[repository]!.map((rfilename) => ({ rfilename }));
    return response.end(JSON.stringify({ siblings }));
  });
  return { url, seen };
}

test("hf: takes the only file of a repository, or says which there are", async () => {
  const { url: hubEndpoint, seen } = await hub();
  const { file } = await get("hf:o/one", { hubEndpoint, hfToken: token });
  expect(readFileSync(file).equals(lora)).toBe(true);
  expect(seen.map(([path]) => path)).toEqual([
    "/api/models/o/one/revision/main",
    "/o/one/resolve/main/one.safetensors",
    "/blob?Signature=s3cret",
  ]);
  // Nothing needed the token, so nobody got it.
  expect(seen.map(([, authorization]) => authorization)).toEqual([undefined, undefined, undefined]);
  await expect(get("hf:o/two", { hubEndpoint })).rejects.toThrow(
    "2 .safetensors files: b.safetensors, a.safetensors. Name one: hf:o/two/b.safetensors",
  );
  await expect(get("hf:o/none", { hubEndpoint })).rejects.toThrow("no .safetensors file at main");
  // Half a second of a server's thread, were it read.
  await expect(get("hf:o/many", { hubEndpoint })).rejects.toThrow(
    "o/many on the hub holds too many files to look for a LoRA among them. Name it: hf:o/many/FILE",
  );
  // The page's link leads to the same file.
  const page = `${hubEndpoint}/o/one/blob/main/one.safetensors`;
  expect(await get(page, { hubEndpoint })).toEqual({ file, cached: true });
});

test("the token opens gated files, goes to the hub alone, and its files are not shared", async () => {
  const { url: hubEndpoint, seen } = await hub();
  const without = await get("hf:o/gated", { hubEndpoint }).catch((error) => error);
  expect(without.message).toContain("send hf_token");
  const wrong = await get("hf:o/gated", { hubEndpoint, hfToken: "hf_wrong0123456789" }).catch(
    (error) => error,
  );
  expect(wrong.message).toMatch(/accepted the conditions/);
  expect(wrong.message).not.toMatch(/hf_wrong|private words/);

  seen.length = 0;
  const { file } = await get("hf:o/gated", { hubEndpoint, hfToken: token });
  expect(seen.filter(([, authorization]) => authorization !== undefined)).toEqual([
    ["/api/models/o/gated/revision/main", `Bearer ${token}`],
    ["/o/gated/resolve/main/gated.safetensors", `Bearer ${token}`],
  ]);
  expect(seen.at(-1)).toEqual(["/blob?Signature=s3cret", undefined]);
  expect(`${file} ${list()}`).not.toContain(token);

  const link = "hf:o/gated/gated.safetensors";
  expect(await get(link, { hubEndpoint, hfToken: token })).toEqual({ file, cached: true });
  for (const hfToken of [undefined, "hf_other0123456789"]) {
    const others = get(link, { hubEndpoint, ...(hfToken === undefined ? {} : { hfToken }) });
    await expect(others).rejects.toThrow(InputError);
  }
  await expect(get(link, { hubEndpoint, hfToken: "a\r\nb: c" })).rejects.toThrow(/no token has/);
});
