import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { goldenFolder, readGolden, toleranceOf } from "../../test/golden.ts";
import { compareBlocks, comparePixels, mostPsnr } from "./compare.ts";
import { decodeImage } from "./decode-image.ts";
import type { Pixels } from "./encode-image.ts";

const file = "pictures/comparisons.json";
const golden = readGolden<{
  "against picture.png": Record<string, { psnr: number; ssim: number; max_difference: number }>;
}>(file)["against picture.png"];
const read = (name: string) =>
  decodeImage(readFileSync(join(goldenFolder, "pictures", name)), name);

test.each(Object.entries(golden))("compares with %s as scikit-image does", async (name, theirs) => {
  const ours = comparePixels(await read("picture.png"), await read(name));
  expect(ours.maxDifference).toBe(theirs.max_difference);
  for (const figure of ["psnr", "ssim"] as const) {
    const { atol } = toleranceOf(file, figure);
    expect(Math.abs(ours[figure]! - theirs[figure]), figure).toBeLessThanOrEqual(atol);
  }
});

test("equal pictures have the highest figures, which JSON can hold", async () => {
  const picture = await read("picture.png");
  const figures = comparePixels(picture, picture);
  expect(figures).toEqual({ psnr: mostPsnr, ssim: 1, maxDifference: 0 });
  expect(JSON.parse(JSON.stringify(figures))).toEqual(figures);
});

const flat = (width: number, height: number, grey = 0): Pixels => {
  return { data: new Uint8Array(3 * width * height).fill(grey), width, height };
};

test("a picture that is smaller than SSIM's window has none", () => {
  expect(comparePixels(flat(40, 10), flat(40, 10)).ssim).toBeNull();
  expect(comparePixels(flat(40, 11), flat(40, 11)).ssim).toBe(1);
});

test("blocks are compared by their means, those that the edge cuts too", () => {
  const black = flat(20, 18);
  const other = flat(20, 18);
  // The corner's block has 4 x 2 pixels: one of them up by 80 raises its mean by 10.
  other.data[3 * (17 * 20 + 19) + 1] = 80;
  const { psnr, maxDifference } = compareBlocks(black, other);
  expect(maxDifference).toBe(10);
  expect(psnr).toBeCloseTo(10 * Math.log10((255 * 255) / (100 / 12)), 9);
  expect(compareBlocks(black, black)).toEqual({ psnr: mostPsnr, maxDifference: 0 });
});

test("pictures of other sizes can't be compared", () => {
  expect(() => comparePixels(flat(4, 6), flat(6, 4))).toThrow("4 x 6 against 6 x 4 pixels");
});
