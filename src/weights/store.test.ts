import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fetchAgain, readJson, repositoryFolder } from "./store.ts";

const sourceOf = (repository: string) => ({ repository, model: "zimage" });
let store: string;
beforeAll(() => {
  store = mkdtempSync(join(tmpdir(), "retake-store-"));
});
afterAll(() => rmSync(store, { recursive: true }));

test("a folder with the hub's names", async () => {
  mkdirSync(join(store, "owner/name"), { recursive: true });
  expect(await repositoryFolder(store, sourceOf("owner/name"))).toBe(join(store, "owner/name"));
});

test.each(["", "hub"])("a hub cache, in the folder itself or in %j", async (inside) => {
  const cache = join(store, inside, `models--cached${inside}--name`);
  mkdirSync(join(cache, "snapshots/abc123"), { recursive: true });
  mkdirSync(join(cache, "refs"));
  writeFileSync(join(cache, "refs/main"), "abc123\n");
  const found = await repositoryFolder(store, sourceOf(`cached${inside}/name`));
  expect(found).toBe(join(cache, "snapshots/abc123"));
});

test("a cache whose revision leads elsewhere is refused", async () => {
  const cache = join(store, "models--bad--name");
  mkdirSync(join(cache, "refs"), { recursive: true });
  writeFileSync(join(cache, "refs/main"), "../../owner/name");
  await expect(repositoryFolder(store, sourceOf("bad/name"))).rejects.toThrow(
    /hub cache of bad\/name/,
  );
});

test("a repository that is not there: the message says how to fetch it", async () => {
  await expect(repositoryFolder(store, sourceOf("no/model"))).rejects.toThrow(
    /no\/model is not in .*retake pull zimage/,
  );
});

test("a JSON file is refused by name: a folder, not JSON, a key twice", async () => {
  const file = join(store, "config.json");
  const refused = async (reason: RegExp) => {
    await expect(readJson(file, fetchAgain(sourceOf("owner/name")))).rejects.toThrow(reason);
    await expect(readJson(file, fetchAgain(sourceOf("owner/name")))).rejects.toThrow(
      /config\.json .*Fetch owner\/name/,
    );
  };
  mkdirSync(file);
  await refused(/not a file/);
  rmSync(file, { recursive: true });
  writeFileSync(file, "{");
  await refused(/can't be read as JSON/);
  writeFileSync(file, '{"a":{"b":1,"b":2}}');
  await refused(/"b" twice/);
});
