import { readFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { expect, test } from "vitest";
import { goldenFolder } from "../../test/golden.ts";
import { decodeImage } from "./decode-image.ts";
import { encodeAsTrainer } from "./encode-image.ts";

const golden = (name: string) => readFileSync(join(goldenFolder, "pictures", name));
const noise = (width: number, height: number) =>
  sharp({
    create: {
      ...{ width, height, channels: 3, background: "black" },
      noise: { type: "gaussian", mean: 128, sigma: 60 },
    },
  });

for (const [ending, format] of [
  ["jpg", "jpeg"],
  ["webp", "webp"],
] as const) {
  test(`decodes ${format} to the pixels that Pillow decodes`, async () => {
    const decoded = await decodeImage(golden(`picture.${ending}`), "a");
    const pillow = await decodeImage(golden(`picture-${ending}.png`), "b");
    expect(decoded).toEqual({ ...pillow, format });
  });

  test(`encodes ${format} to the pixels that Pillow encodes`, async () => {
    const picture = await decodeImage(golden("picture.png"), "a");
    const ours = await decodeImage(await encodeAsTrainer(picture, format), "b");
    expect(ours).toEqual(await decodeImage(golden(`picture.${ending}`), "c"));
  });
}

test("a PNG comes back as it was", async () => {
  const picture = await decodeImage(golden("picture.png"), "a");
  expect(picture).toMatchObject({ width: 83, height: 61, format: "png" });
  expect(await decodeImage(await encodeAsTrainer(picture, "png"), "b")).toEqual(picture);
});

test("grey, alpha and 16 bits become three channels of 8 bits", async () => {
  const rgb = sharp(golden("picture.png"));
  const grey = await decodeImage(await rgb.clone().greyscale().png().toBuffer(), "grey");
  const alpha = await decodeImage(await rgb.clone().ensureAlpha(0.5).png().toBuffer(), "alpha");
  const deep = await decodeImage(await rgb.clone().toColourspace("rgb16").png().toBuffer(), "deep");
  const picture = await decodeImage(golden("picture.png"), "picture");
  expect(grey.data).toHaveLength(picture.data.length);
  expect(alpha).toEqual(picture);
  expect(deep).toEqual(picture);
});

test("a picture that was cut anywhere is refused by name", async () => {
  for (const format of ["jpeg", "png", "webp"] as const) {
    const bytes = await noise(200, 120).toFormat(format).toBuffer();
    for (const part of [0.02, 0.3, 0.9]) {
      const cut = bytes.subarray(0, Math.max(13, part * bytes.length));
      await expect(decodeImage(cut, "samples/1__0.jpg")).rejects.toThrow(
        /^samples\/1__0\.jpg can't be decoded: it is cut off or damaged .* Copy the file again\.$/,
      );
    }
  }
});

test("what is no picture is refused by name, and no other format is tried", async () => {
  const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>');
  await expect(decodeImage(svg, "a.jpg")).rejects.toThrow(/^a\.jpg .* no PNG, JPEG or WebP\./);
  await expect(decodeImage(Buffer.alloc(0), "a.jpg")).rejects.toThrow(/it is empty\./);
});

test("a picture of more pixels than are decoded is refused before it takes memory", async () => {
  const bomb = await sharp({
    create: { width: 8193, height: 8193, channels: 3, background: "black" },
  })
    .png()
    .toBuffer();
  await expect(decodeImage(bomb, "a.png")).rejects.toThrow(/larger than 67108864 pixels/);
});
