import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { goldenFolder } from "../../test/golden.ts";
import { InputError } from "../errors.ts";
import { readGguf } from "./gguf.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-gguf-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);
const u64 = (value: bigint | number) => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
const string = (text: string) => {
  const bytes = Buffer.from(text);
  return Buffer.concat([u64(bytes.length), bytes]);
};

interface Tensor {
  name?: string;
  /** In the file's order: the innermost first. */
  dims?: (bigint | number)[];
  rank?: number;
  type?: number;
  begin?: bigint | number;
}
interface Content {
  version?: number;
  tensorCount?: bigint | number;
  pairCount?: bigint | number;
  pairs?: Uint8Array[];
  tensors?: Tensor[];
  data?: number;
  padding?: boolean;
}

/** A GGUF file by its description: by itself a whole one with the tensor a [2, 32] in Q8_0. */
function gguf(content: Content = {}): Buffer {
  const { version = 3, pairs = [], tensors = [{}], data = 68, padding = true } = content;
  const header = Buffer.concat([
    Buffer.from("GGUF"),
    u32(version),
    u64(content.tensorCount ?? tensors.length),
    u64(content.pairCount ?? pairs.length),
    ...pairs,
    ...tensors.map(({ name = "a", dims = [32, 2], rank = dims.length, type = 8, begin = 0 }) =>
      Buffer.concat([string(name), u32(rank), ...dims.map(u64), u32(type), u64(begin)]),
    ),
  ]);
  const gap = padding ? (32 - (header.length % 32)) % 32 : 0;
  return Buffer.concat([header, Buffer.alloc(gap + data)]);
}

function write(bytes: Uint8Array): string {
  const path = join(folder, "file.gguf");
  writeFileSync(path, bytes);
  return path;
}

const pair = (key: string, type: number, ...value: Uint8Array[]) =>
  Buffer.concat([string(key), u32(type), ...value]);

test("a file of the gguf package: architecture, and shapes in torch's order", async () => {
  const { architecture, tensors } = await readGguf(join(goldenFolder, "quantised/gguf/mixed.gguf"));
  expect(architecture).toBe("lumina2");
  expect(tensors.get("layers.0.attention.qkv.weight")).toMatchObject({
    shape: [288, 96],
    storage: { name: "Q4_0" },
    byteLength: (288 * 96 * 18) / 32,
  });
  expect(tensors.get("layers.0.ffn_norm1.weight")).toMatchObject({ shape: [96], storage: "F32" });
});

test("version 2, links, other alignments and all kinds of metadata are read", async () => {
  const pairs = [
    pair("general.alignment", 4, u32(64)),
    pair("flag", 7, Uint8Array.of(1)),
    pair("numbers", 9, u32(6), u64(3), new Uint8Array(12)),
    pair("words", 9, u32(8), u64(2), string("x"), string("")),
    pair("wide", 12, new Uint8Array(8)),
  ];
  const bytes = gguf({ version: 2, pairs, data: 200, padding: false });
  const path = write(bytes);
  const link = join(folder, "link.gguf");
  symlinkSync(path, link);
  const { architecture, tensors } = await readGguf(link);
  expect(architecture).toBeUndefined();
  expect(tensors.get("a")?.offset).toBe(Math.ceil((bytes.length - 200) / 64) * 64);
  expect(tensors.get("a")?.file).toBe(path);
});

describe("a file that is not whole or not what it says is refused, by name and reason", () => {
  const two = (second: Tensor): Content => ({ tensors: [{}, { name: "b", ...second }], data: 256 });
  const cases: [string, () => Uint8Array, RegExp][] = [
    ["empty", () => new Uint8Array(), /header is cut off/],
    ["another format", () => Buffer.alloc(64), /doesn't begin with GGUF/],
    ["version 1", () => gguf({ version: 1 }), /is GGUF version 1; Retake reads versions 2 and 3/],
    ["big-endian", () => gguf({ version: 0x03000000 }), /big-endian/],
    ["cut in the header", () => gguf().subarray(0, 40), /header is cut off/],
    ["cut in the data", () => gguf({ data: 60 }), /cut off: .* tensor a ends at/],
    ["too many tensors", () => gguf({ tensorCount: 2n ** 63n }), /claims 9223372036854775808 tens/],
    ["too many pairs", () => gguf({ pairCount: 200_000 }), /200000 metadata entries/],
    [
      "a long string",
      () => gguf({ pairs: [Buffer.concat([u64(2n ** 40n), u32(4)])] }),
      /a string of 1099511627776 bytes/,
    ],
    ["an unknown type", () => gguf({ pairs: [pair("k", 99)] }), /unknown type 99/],
    [
      "a list without end",
      () => gguf({ pairs: [pair("k", 9, u32(8), u64(2n ** 62n))] }),
      /string of \d+ bytes|cut off/,
    ],
    [
      "a list of numbers without end",
      () => gguf({ pairs: [pair("k", 9, u32(4), u64(2n ** 62n))] }),
      /header is cut off/,
    ],
    [
      "a list of lists",
      () => gguf({ pairs: [pair("k", 9, u32(9), u64(1))] }),
      /list of the type 9/,
    ],
    [
      "a key twice",
      () => gguf({ pairs: [pair("k", 7, Uint8Array.of(1)), pair("k", 7, Uint8Array.of(1))] }),
      /has "k" twice/,
    ],
    [
      "an alignment of 0",
      () => gguf({ pairs: [pair("general.alignment", 4, u32(0))] }),
      /alignment 0 is impossible/,
    ],
    [
      "an alignment of text",
      () => gguf({ pairs: [pair("general.alignment", 8, string("32"))] }),
      /alignment 32 is impossible/,
    ],
    ["a tensor twice", () => gguf({ tensors: [{}, { begin: 96 }], data: 256 }), /tensor a twice/],
    ["many dimensions", () => gguf({ tensors: [{ rank: 9 }] }), /has 9 dimensions/],
    ["half a block", () => gguf({ tensors: [{ dims: [33, 2] }] }), /impossible shape \[2,33\]/],
    ["nothing", () => gguf({ tensors: [{ dims: [0, 2] }] }), /impossible shape/],
    [
      "a product that overflows",
      () => gguf({ tensors: [{ dims: [2n ** 32n, 2n ** 32n] }] }),
      /impossible shape/,
    ],
    [
      "a format we lack",
      () => gguf({ tensors: [{ type: 11 }] }),
      /stored as Q3_K; Retake computes/,
    ],
    ["an unknown format", () => gguf({ tensors: [{ type: 4 }] }), /stored as type 4/],
    ["unaligned", () => gguf(two({ begin: 72 })), /tensor b is not aligned/],
    ["overlapping", () => gguf(two({ begin: 32 })), /tensor b overlaps/],
    ["past the end", () => gguf(two({ begin: 2n ** 60n })), /tensor b begins after its end/],
  ];
  test.each(cases)("%s", async (_, bytes, reason) => {
    const path = write(bytes());
    await expect(readGguf(path)).rejects.toThrow(reason);
    await expect(readGguf(path)).rejects.toThrow(path);
  });

  test("a folder, and nothing", async () => {
    await expect(readGguf(folder)).rejects.toThrow(/not a file/);
    await expect(readGguf(join(folder, "none"))).rejects.toThrow(/can't be opened/);
  });

  test("any change of a byte in the header is read or refused, never anything else", async () => {
    const pairs = [
      pair("general.alignment", 4, u32(32)),
      pair("x", 9, u32(8), u64(1), string("y")),
    ];
    const whole = gguf({ pairs });
    await fc.assert(
      fc.asyncProperty(
        fc.nat(whole.length - 69),
        fc.integer({ min: 0, max: 255 }),
        async (at, byte) => {
          const bytes = Buffer.from(whole);
          bytes[at] = byte;
          try {
            for (const { offset, byteLength } of (await readGguf(write(bytes))).tensors.values()) {
              expect(offset + byteLength).toBeLessThanOrEqual(bytes.length);
            }
          } catch (error) {
            expect(error).toBeInstanceOf(InputError);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
