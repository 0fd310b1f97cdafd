import { createHash } from "node:crypto";
import { join } from "node:path";
import { expect, test } from "vitest";
import { goldenFolder, readGolden } from "../../test/golden.ts";
import { rawTensor } from "../../test/tensor-file.ts";
import type { Dtype } from "../tensor/dtype.ts";
import { converter, type HeldDtype } from "./convert.ts";
import { readSafetensors } from "./safetensors.ts";

// The goldens are PyTorch's own casts: reference/golden_casts.py.

const hashes =
  readGolden<Record<string, { count: number; rounded: number } & Record<HeldDtype, string>>>(
    "casts/hashes.json",
  );

/** Every code of a dtype, those left out that are refused. */
function codes(dtype: Dtype): Uint8Array<ArrayBuffer> {
  const width = dtype.startsWith("F8") ? 1 : 2;
  const all = Array.from({ length: 256 ** width }, (_, code) =>
    Uint8Array.of(...(width === 1 ? [code] : [code & 255, code >> 8])),
  );
  const finite = all.filter((code) => converter(dtype, "F16")(code).fault === null);
  return new Uint8Array(Buffer.concat(finite));
}

test.each(["BF16", "F16", "F8_E4M3", "F8_E5M2"] as const)(
  "every number of %s becomes what PyTorch makes of it",
  (dtype) => {
    const { count, rounded, ...expected } = hashes[dtype]!;
    const bytes = codes(dtype);
    expect(bytes.length / (dtype.startsWith("F8") ? 1 : 2)).toBe(count);
    for (const to of ["F16", "F32"] as const) {
      if (dtype === to) continue;
      const converted = converter(dtype, to)(bytes);
      expect(createHash("sha256").update(converted.bytes).digest("hex"), to).toBe(expected[to]);
      expect(converted).toMatchObject({ rounded: to === "F16" ? rounded : 0, fault: null });
    }
  },
);

test("f32 in f16: ties, subnormals and what becomes 0, as PyTorch rounds, and counted", async () => {
  const { tensors } = await readSafetensors(join(goldenFolder, "casts/singles.safetensors"));
  const { bytes } = rawTensor(tensors.get("given")!);
  const theirs = rawTensor(tensors.get("f16")!).bytes;
  const given = Uint8Array.from(bytes);
  const converted = converter("F32", "F16")(given);
  expect(Buffer.from(converted.bytes).equals(theirs)).toBe(true);
  const values = new Float32Array(given.buffer);
  const halves = new Float16Array(Uint8Array.from(theirs).buffer);
  expect(converted.rounded).toBe(values.filter((value, i) => value !== halves[i]).length);
  expect(converted.rounded).toBeGreaterThan(1000);
  expect(converter("F32", "F32")(given)).toMatchObject({ bytes: given, rounded: 0, fault: null });
});

test("what f16 can't hold is told by its value, never made into infinity", () => {
  const singles = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
  expect(converter("F32", "F16")(singles(1, 65_504, 65_520, 7e4)).fault).toBe(65_520);
  expect(converter("F32", "F16")(singles(65_519)).fault).toBe(null);
  expect(converter("F32", "F16")(singles(1, Number.NaN)).fault).toBeNaN();
  expect(converter("F32", "F32")(singles(1, Number.NEGATIVE_INFINITY)).fault).toBe(
    Number.NEGATIVE_INFINITY,
  );
  // 65536, then infinity and NaN.
  const halves = (...words: number[]) => new Uint8Array(Uint16Array.from(words).buffer);
  expect(converter("BF16", "F16")(halves(0x3f80, 0xc780)).fault).toBe(-65_536);
  expect(converter("BF16", "F32")(halves(0x4780)).fault).toBe(null);
  for (const to of ["F16", "F32"] as const) {
    expect(converter("BF16", to)(halves(0x7f80)).fault).toBe(Number.POSITIVE_INFINITY);
    expect(converter("BF16", to)(halves(0xffff)).fault).toBeNaN();
    expect(converter("F8_E4M3", to)(Uint8Array.of(0, 0xff)).fault).toBeNaN();
    expect(converter("F8_E5M2", to)(Uint8Array.of(0xfc)).fault).toBe(Number.NEGATIVE_INFINITY);
  }
  expect(() => converter("I64", "F32")).toThrow(RangeError);
});
