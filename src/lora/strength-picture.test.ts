import sharp from "sharp";
import { expect, test } from "vitest";
import { drawStrength } from "./strength-picture.ts";

/** [red, green, blue] at a place of the picture, in pixels from its upper left corner. */
async function pixelsOf(svg: string): Promise<(x: number, y: number) => number[]> {
  const { data, info } = await sharp(Buffer.from(svg)).raw().toBuffer({ resolveWithObject: true });
  return (x, y) => [...data.subarray((y * info.width + x) * info.channels).subarray(0, 3)];
}

test("the more a module is changed, the darker is its cell", async () => {
  const svg = drawStrength({
    strength: { "layers.0.a": 0, "layers.0.b": 2, "layers.1.a": 4, "layers.1.b": null },
  });
  const at = await pixelsOf(svg);
  // The grid begins behind the row's name and under the title: 8 letters, 57.6 wide, and two gaps.
  const [left, top] = [Math.ceil(8 * 6 * 1.2 - 1.2 + 16), 50];
  const cell = (column: number, row: number) => at(left + 64 * column + 32, top + 18 * row + 9);
  expect(cell(0, 0)).toEqual([0xf4, 0xf6, 0xfb]);
  expect(cell(0, 1)).toEqual([0x0b, 0x1f, 0x3f]);
  const [red] = cell(1, 0);
  expect(red).toBeGreaterThan(0x0b);
  expect(red).toBeLessThan(0xf4);
  expect(cell(1, 1)).toEqual([255, 255, 255]);
});

test("long names stay inside of the picture, and nothing needs a font", async () => {
  const svg = drawStrength({ strength: { "all_final_layer.2-1.adaLN_modulation.1": 1 } });
  expect(svg).not.toContain("<text");
  const trimmed = await sharp(Buffer.from(svg)).trim().toBuffer({ resolveWithObject: true });
  const { width, height } = await sharp(Buffer.from(svg)).metadata();
  expect(trimmed.info.width).toBeLessThan(width);
  expect(trimmed.info.height).toBeLessThan(height - 8);
});
