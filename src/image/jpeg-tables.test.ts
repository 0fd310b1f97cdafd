import { readFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { expect, test } from "vitest";
import { goldenFolder } from "../../test/golden.ts";
import { sameQuality } from "./jpeg-tables.ts";

const golden = (name: string) => readFileSync(join(goldenFolder, "pictures", name));

test("Pillow's JPEG has the tables of quality 75 and of no other", async () => {
  const picture = sharp(golden("picture.png"));
  const pillow = golden("picture.jpg");
  for (const quality of [60, 74, 75, 76, 95]) {
    const ours = await picture.clone().jpeg({ quality }).toBuffer();
    expect(sameQuality(pillow, ours), String(quality)).toBe(quality === 75);
  }
});

test("a file that ends in the middle of a table is another", () => {
  const pillow = golden("picture.jpg");
  const frame = pillow.indexOf(Buffer.from([0xff, 0xc0]));
  for (let length = 0; length < frame; length++) {
    expect(sameQuality(pillow, pillow.subarray(0, length))).toBe(false);
  }
});
