import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { WeightSpan } from "../onnx/graph.ts";
import { findNonFinite } from "./nonfinite.ts";

const folder = mkdtempSync(join(tmpdir(), "retake-nonfinite-"));
const file = join(folder, "weights");
afterAll(() => rmSync(folder, { recursive: true }));

const span = (dtype: WeightSpan["dtype"], offset: number, byteLength: number): WeightSpan => ({
  dtype,
  shape: [byteLength / (dtype === "F32" ? 4 : 2)],
  file,
  offset,
  byteLength,
});

// Bit patterns of IEEE 754 binary32 and binary16, and of bfloat16: the largest finite value first.
const cases: [WeightSpan["dtype"], string, string, string][] = [
  ["F32", "ffff7f7f", "0000807f", "+infinity"],
  ["F32", "ffff7fff", "0100807f", "NaN of the smallest payload"],
  ["F16", "ff7b", "00fc", "-infinity"],
  ["F16", "fffb", "017e", "NaN"],
  ["BF16", "7f7f", "80ff", "-infinity"],
  ["BF16", "7fff", "c07f", "NaN"],
];
test.each(cases)("%s: %s is finite, %s is %s", async (dtype, finite, bad, _what) => {
  // An odd start: spans need not be aligned to their elements.
  writeFileSync(file, Buffer.from(`ff${finite}${finite}${bad}`, "hex"));
  const size = finite.length / 2;
  const name = "layers.0.weight";
  const sound = new Map([[name, span(dtype, 1, 2 * size)]]);
  expect(await findNonFinite(sound)).toBeUndefined();
  const damaged = new Map([...sound, ["second", span(dtype, 1, 3 * size)]]);
  expect(await findNonFinite(damaged)).toEqual({ name: "second", file, index: 2 });
});

test("beyond the first chunk the index is still the tensor's", async () => {
  const elements = 9 * 1024 * 1024;
  const bytes = Buffer.alloc(2 * elements);
  bytes.writeUInt16LE(0x7fc0, 2 * (elements - 1));
  writeFileSync(file, bytes);
  const tensors = new Map([["w", span("BF16", 0, bytes.length)]]);
  expect(await findNonFinite(tensors)).toEqual({ name: "w", file, index: elements - 1 });
});

test("a file that became shorter is named", async () => {
  writeFileSync(file, Buffer.alloc(8));
  truncateSync(file, 4);
  await expect(findNonFinite(new Map([["w", span("F32", 0, 8)]]))).rejects.toThrow(
    /weights became shorter/,
  );
});
