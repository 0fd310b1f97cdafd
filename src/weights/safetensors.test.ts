import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { InputError } from "../errors.ts";
import { openComponent, requireWeights } from "./component.ts";
import { findNonFinite } from "./nonfinite.ts";
import { readF32, readSafetensors } from "./safetensors.ts";
import { readJson } from "./store.ts";

const source = { repository: "owner/name", model: "zimage" };
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-weights-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, header: unknown, data: Uint8Array | number = 0): string {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const path = join(folder, name);
  writeFileSync(
    path,
    Buffer.concat([length, json, typeof data === "number" ? Buffer.alloc(data) : data]),
  );
  return path;
}

function raw(name: string, bytes: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const f32 = (begin: number, end: number) => ({
  dtype: "F32",
  shape: [(end - begin) / 4],
  data_offsets: [begin, end],
});

describe("a file that is not whole or not what it says is refused, by name and reason", () => {
  const claims = (length: bigint) => {
    const bytes = Buffer.alloc(64);
    bytes.writeBigUInt64LE(length);
    return bytes;
  };
  const cases: [string, () => string, RegExp][] = [
    ["empty", () => raw("empty", ""), /only 0 bytes/],
    ["cut off", () => write("cut", { a: f32(0, 16) }, 8), /cut off/],
    ["header past the end", () => raw("long", claims(5000n)), /claims 5000 bytes in a file of 64/],
    ["oversized header", () => raw("huge", claims(2n ** 62n)), /is the limit/],
    ["overlap", () => write("lap", { a: f32(0, 8), b: f32(4, 12) }, 12), /overlaps/],
    ["gap", () => write("gap", { a: f32(0, 4), b: f32(8, 12) }, 12), /gap/],
    ["bytes after the last tensor", () => write("tail", { a: f32(0, 4) }, 9), /5 bytes follow/],
    ["wrong length", () => write("len", { a: { ...f32(0, 8), shape: [3] } }, 8), /needs 12 bytes/],
    [
      "product overflow",
      () => write("big", { a: { ...f32(0, 4), shape: [2 ** 40, 2 ** 40] } }, 4),
      /needs/,
    ],
    [
      "negative size",
      () => write("neg", { a: { ...f32(0, 4), shape: [-1] } }, 4),
      /impossible shape/,
    ],
    ["unknown dtype", () => write("dty", { a: { ...f32(0, 4), dtype: "F1" } }, 4), /unknown dtype/],
    [
      "a name twice",
      () =>
        write(
          "twice",
          '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
          4,
        ),
      /"a" twice/,
    ],
    ["a list", () => write("list", "[]"), /not a JSON object/],
    ["a byte order mark", () => write("bom", "\ufeff{}"), /from its first byte on/],
    ["not JSON", () => write("text", "nonsense"), /not JSON/],
    ["zip", () => raw("zip", "PK\x03\x04 and more of it"), /zip archive/],
    [
      "pickle",
      () => raw("pkl", Buffer.from([0x80, 2, 0x8a, 10, 108, 252, 156, 70, 249])),
      /Python pickle/,
    ],
    ["GGUF", () => raw("gguf", "GGUF\x03\0\0\0\x01"), /GGUF/],
    ["web page", () => raw("html", "<!doctype html><title>Sign in</title>"), /web page/],
    ["LFS pointer", () => raw("lfs", "version https://git-lfs.github.com/spec/v1"), /Git LFS/],
  ];
  test.each(cases)("%s", async (_, make, reason) => {
    const path = make();
    const error = await readSafetensors(path).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InputError);
    expect(String(error)).toMatch(reason);
    expect(String(error)).toContain(path);
  });

  test("a folder and a file that is not there", async () => {
    await expect(readSafetensors(folder)).rejects.toThrow(InputError);
    await expect(readSafetensors(join(folder, "none"))).rejects.toThrow(/can't be opened/);
  });

  test("any bytes: a valid answer or an InputError, nothing else", async () => {
    await fc.assert(
      fc.asyncProperty(fc.json(), fc.nat(64), async (json, data) => {
        const error = await readSafetensors(write("fuzz", json, data)).catch((e: unknown) => e);
        if (error instanceof Error) expect(error).toBeInstanceOf(InputError);
      }),
      { numRuns: 300 },
    );
  });
});

// Opening a pipe waits for its other end: it has to be told apart before.
test.skipIf(process.platform === "win32")("a pipe is refused at once", async () => {
  const pipe = join(folder, "pipe");
  execFileSync("sh", ["-c", 'mkfifo "$0"', pipe]);
  await expect(readSafetensors(pipe)).rejects.toThrow(/pipe can't be opened: it is not a file/);
  await expect(readJson(pipe, "Fetch it again.")).rejects.toThrow(/not a file/);
});

test("metadata of 20 MB is read: training tags can be long", async () => {
  const header = { __metadata__: { tags: "tag\n".repeat(5e6) }, a: f32(0, 4) };
  expect((await readSafetensors(write("tags", header, 4))).metadata.tags).toHaveLength(20e6);
});

test("values of each float dtype are widened exactly", async () => {
  // 1.5 and -2 as f32, f16 and bf16 bit patterns (IEEE 754).
  const data = Buffer.from("0000c03f000000c0" + "003e00c0" + "c03f00c0", "hex");
  const header = {
    a: f32(0, 8),
    b: { dtype: "F16", shape: [2], data_offsets: [8, 12] },
    c: { dtype: "BF16", shape: [2], data_offsets: [12, 16] },
  };
  const { tensors } = await readSafetensors(write("values", header, data));
  for (const span of tensors.values()) expect([...(await readF32(span)).data]).toEqual([1.5, -2]);
});

test("a header whose length begins like a pickle is read", async () => {
  const header = JSON.stringify({ a: f32(0, 4) }).padEnd(0x80, " ");
  expect((await readSafetensors(write("128", header, 4))).tensors.size).toBe(1);
});

describe("shards", () => {
  const index = (map: object) =>
    raw("m.safetensors.index.json", JSON.stringify({ weight_map: map }));

  test("are read as one, through links too", async () => {
    const first = write("real-1", { a: f32(0, 4) }, 4);
    symlinkSync(first, join(folder, "m-1.safetensors"));
    write("m-2.safetensors", { b: f32(0, 8) }, 8);
    index({ a: "m-1.safetensors", b: "m-2.safetensors" });
    const tensors = await openComponent(folder, "m", source);
    expect(tensors.get("a")?.file).toBe(first);
    expect(tensors.get("b")?.shape).toEqual([2]);
  });

  test.each([
    [{ a: "m-9.safetensors" }, /m-9\.safetensors is missing .*owner\/name/],
    [{ a: "../m-2.safetensors" }, /not a file name/],
    [{ a: "/m-2.safetensors" }, /not a file name/],
    [{ b: "m-2.safetensors", z: "m-2.safetensors" }, /don't hold: z/],
    [{ z: "m-2.safetensors" }, /holds tensor b, which .* does not list/],
    [{ b: "m-3.safetensors" }, /holds tensor toString, which .* does not list/],
    [{ toString: "m-3.safetensors", c: "m-2.safetensors" }, /tensor c, which .* places in m-2/],
    [{ c: "m-4.safetensors" }, /m-4\.safetensors is missing/],
  ])("%j", async (map, reason) => {
    write("m-2.safetensors", { b: f32(0, 8) }, 8);
    write("m-3.safetensors", { toString: f32(0, 4), c: f32(4, 8) }, 8);
    rmSync(join(folder, "m-4.safetensors"), { force: true });
    symlinkSync(join(folder, "blobs/gone"), join(folder, "m-4.safetensors"));
    index(map);
    await expect(openComponent(folder, "m", source)).rejects.toThrow(reason);
  });

  test("missing and misshapen tensors are listed together", async () => {
    const { tensors } = await readSafetensors(write("some", { a: f32(0, 8) }, 8));
    const expected = new Map([
      ["a", [3]],
      ["b", [1]],
    ]);
    expect(() => requireWeights(tensors, expected, "transformer/ of x/y")).toThrow(
      /x\/y.*a is \[2\], the configuration implies \[3\]; b is missing/,
    );
  });
});

test("the first NaN or infinity is found by tensor and element", async () => {
  const data = Buffer.from("000080bf" + "0000807f", "hex");
  const { tensors } = await readSafetensors(write("inf", { a: f32(0, 8) }, data));
  expect(await findNonFinite(tensors)).toMatchObject({ name: "a", index: 1 });
  const sound = await readSafetensors(write("sound", { a: f32(0, 8) }, 8));
  expect(await findNonFinite(sound.tensors)).toBeUndefined();
});
