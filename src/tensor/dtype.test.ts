import { expect, test } from "vitest";
import { narrowTo, roundToDtype } from "./dtype.ts";

test("bf16: the nearest, ties to even, as PyTorch casts; no NaN becomes a number", () => {
  const cases: [number, number][] = [
    [0x3f800000, 0x3f80],
    [0x3f808000, 0x3f80],
    [0x3f818000, 0x3f82],
    [0x3f808001, 0x3f81],
    [0x80000001, 0x8000],
    [0x7f7fffff, 0x7f80],
    [0xff800000, 0xff80],
    [0x7fffffff, 0x7fc0],
    [0xffffffff, 0x7fc0],
    [0x7f800001, 0x7fc0],
  ];
  const values = new Float32Array(Uint32Array.from(cases, ([given]) => given).buffer);
  roundToDtype(values, "BF16");
  const bits = new Uint16Array(narrowTo(values, "BF16").buffer);
  expect([...bits]).toEqual(cases.map(([, wanted]) => wanted));
});
