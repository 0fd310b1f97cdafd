import { randomUUID } from "node:crypto";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeEach, expect, test } from "vitest";
import { CanceledError } from "../errors.ts";
import { Lock } from "../files/lock.ts";
import { clearCached, listCached } from "./cached-files.ts";
import type { Derivation } from "./derived-file.ts";
import { openDerived } from "./derived-file.ts";
import { readF32 } from "./safetensors.ts";

const folder = mkdtempSync(join(tmpdir(), "retake-derived-"));
const source = join(folder, "source.gguf");
const cacheFolder = join(folder, "cache");
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => {
  rmSync(cacheFolder, { recursive: true, force: true });
  writeFileSync(source, "weights");
});

let fills = 0;
function derivation(changes: Partial<Derivation> = {}): Derivation {
  return {
    cacheFolder,
    kind: "test",
    sources: [source],
    tensors: new Map([
      ["a", { dtype: "F32", shape: [2] }],
      ["b", { dtype: "F32", shape: [1] }],
    ]),
    async fill(write) {
      fills++;
      await write("b", 0, new Uint8Array(Float32Array.of(3).buffer));
      await write("a", 4, new Uint8Array(Float32Array.of(2).buffer));
      await write("a", 0, new Uint8Array(Float32Array.of(1).buffer));
    },
    ...changes,
  };
}

test("it is made once, by whoever comes first, and used from then on", async () => {
  fills = 0;
  const started: number[] = [];
  const told: (number | "stop")[] = [];
  const onStart = ({ bytes }: { bytes: number }) => {
    started.push(bytes);
    return {
      update: (written: number) => void told.push(written),
      stop: () => void told.push("stop"),
    };
  };
  const files = await Promise.all([1, 2, 3].map(() => openDerived(derivation(), { onStart })));
  expect(fills).toBe(1);
  expect(started).toEqual([12]);
  expect(told).toEqual([4, 8, 12, "stop"]);
  for (const { tensors } of files) {
    expect([...(await readF32(tensors.get("a")!)).data]).toEqual([1, 2]);
    expect([...(await readF32(tensors.get("b")!)).data]).toEqual([3]);
  }
  expect(readdirSync(cacheFolder)).toHaveLength(1);
});

test("another source, another kind and a damaged file are made anew", async () => {
  fills = 0;
  const { file } = await openDerived(derivation(), {});
  await openDerived(derivation({ kind: "other" }), {});
  writeFileSync(source, "other weights");
  await openDerived(derivation(), {});
  expect(fills).toBe(3);
  writeFileSync(source, "weights");
  const again = await openDerived(derivation(), {});
  truncateSync(again.file, 20);
  await openDerived(derivation(), {});
  expect(fills).toBe(5);
  expect(existsSync(file)).toBe(true);
});

test("a failure or a cancel leaves nothing, not even what an earlier kill left", async () => {
  const { file } = await openDerived(derivation(), {});
  rmSync(file);
  writeFileSync(`${file}.${randomUUID()}.part`, "left over");
  const broken = async () => Promise.reject(new CanceledError());
  await expect(openDerived(derivation({ fill: broken }), {})).rejects.toThrow(CanceledError);
  expect(readdirSync(cacheFolder)).toEqual([]);
  const signal = AbortSignal.abort();
  await expect(openDerived(derivation(), { signal })).rejects.toThrow(CanceledError);
  expect(readdirSync(cacheFolder)).toEqual([]);
});

test("a disk without room and a folder that can't be written are named, with what to do", async () => {
  const tensors = new Map([["a", { dtype: "F32", shape: [2 ** 45] } as const]]);
  await expect(openDerived(derivation({ tensors }), {})).rejects.toThrow(
    /source\.gguf needs \d+ MiB in .*retake cache clear.*RETAKE_CACHE/,
  );
  expect(readdirSync(cacheFolder)).toEqual([]);
  const inside = join(source, "cache");
  await expect(openDerived(derivation({ cacheFolder: inside }), {})).rejects.toThrow(
    /can't be written.*Set RETAKE_CACHE/,
  );
});

test("they are listed, the longest unused first, and deleted; other files stay", async () => {
  expect(await listCached(cacheFolder)).toEqual([]);
  const first = await openDerived(derivation(), {});
  const second = await openDerived(derivation({ kind: "other" }), {});
  utimesSync(second.file, 1000, 1000);
  writeFileSync(join(cacheFolder, "notes.txt"), "");
  expect(await listCached(cacheFolder)).toMatchObject([
    { file: second.file, sources: "source.gguf", lastUsed: new Date(1_000_000) },
    { file: first.file, bytes: statSync(first.file).size },
  ]);
  await openDerived(derivation({ kind: "other" }), {});
  expect((await listCached(cacheFolder))[0]?.file).toBe(first.file);
  expect(await clearCached(cacheFolder)).toHaveLength(2);
  expect(readdirSync(cacheFolder)).toEqual(["notes.txt"]);
});

test("what is being made is not cleared, what a killed process left is", async () => {
  const { file } = await openDerived(derivation({ kind: "left" }), {});
  rmSync(file);
  writeFileSync(`${file}.${randomUUID()}.part`, "left over");
  writeFileSync(`${file}.lock`, "");
  const fill: Derivation["fill"] = async (write, signal) => {
    const cleared = await clearCached(cacheFolder);
    expect(cleared).toMatchObject([{ bytes: 9, sources: "unfinished" }]);
    await derivation().fill(write, signal);
  };
  const made = await openDerived(derivation({ fill }), {});
  expect(readdirSync(cacheFolder)).toEqual([basename(made.file)]);
});

test("a cache folder that is deleted in the middle of it costs another turn, and no process", async () => {
  fills = 0;
  const fill: Derivation["fill"] = async (write, signal) => {
    if (fills === 0) rmSync(cacheFolder, { recursive: true });
    await derivation().fill(write, signal);
  };
  const { file, tensors } = await openDerived(derivation({ fill }), {});
  expect(fills).toBe(2);
  expect([...(await readF32(tensors.get("a")!)).data]).toEqual([1, 2]);
  expect(readdirSync(cacheFolder)).toEqual([basename(file)]);
});

test("one who lost the lock gives no file its name", async () => {
  let other: Lock | undefined;
  fills = 0;
  const fill: Derivation["fill"] = async (write, signal) => {
    await derivation().fill(write, signal);
    if (fills > 1) return;
    const [lockFile] = readdirSync(cacheFolder).filter((name) => name.endsWith(".lock"));
    rmSync(join(cacheFolder, lockFile!));
    other = Lock.tryTake(join(cacheFolder, lockFile!.replace(/\.lock$/, "")));
    expect(other).toBeDefined();
  };
  const opening = openDerived(derivation({ fill }), {});
  // The first turn has failed when its part is gone.
  while (other === undefined || readdirSync(cacheFolder).some((name) => name.endsWith(".part"))) {
    await wait(10);
  }
  expect(readdirSync(cacheFolder).filter((name) => name.endsWith(".safetensors"))).toEqual([]);
  other.release();
  await opening;
  expect(fills).toBe(2);
});
