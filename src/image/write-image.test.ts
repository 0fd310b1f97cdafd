import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { toPixels } from "./encode-image.ts";
import { checkWritable, formatOf, writeImage } from "./write-image.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-image-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const gradient = {
  data: Float32Array.from({ length: 3 * 16 * 24 }, (_, i) => (i % 256) / 255),
  shape: [3, 16, 24],
};
const parameters = { prompt: "雪 “quoted”", seed: 42 };

test("rounds halves to even, as numpy does", () => {
  // 0.5, 1.5, 2.5 and 254.5 of 255: numpy.round gives 0, 2, 2, 254.
  const data = Float32Array.from([0.5, 1.5, 2.5, 254.5, 0, 255], (value) => value / 255);
  const exact = data.map((value) => Math.fround(value * 255));
  const image = { data, shape: [3, 1, 2] };
  const { data: bytes } = toPixels(image);
  const planar = [bytes[0], bytes[3], bytes[1], bytes[4], bytes[2], bytes[5]];
  const numpy = new Map([
    [0.5, 0],
    [1.5, 2],
    [2.5, 2],
    [254.5, 254],
  ]);
  for (const [i, value] of exact.entries()) {
    expect(planar[i]).toBe(numpy.get(value) ?? Math.round(value));
  }
});

test("a PNG keeps every pixel and its parameters", async () => {
  const path = join(folder, "a.png");
  await writeImage(path, gradient, parameters);
  const { data, info } = await sharp(path).raw().toBuffer({ resolveWithObject: true });
  expect([info.width, info.height, info.channels]).toEqual([24, 16, 3]);
  expect(new Uint8Array(data)).toEqual(toPixels(gradient).data);
  const { comments } = await sharp(path).metadata();
  expect(comments?.[0]?.keyword).toContain("parameters");
  expect(JSON.parse(comments![0]!.text)).toEqual(parameters);
});

test("a JPEG has quality 95, half colour resolution and its parameters", async () => {
  const path = join(folder, "a.jpg");
  await writeImage(path, gradient, parameters);
  const metadata = await sharp(path).metadata();
  expect(metadata).toMatchObject({ format: "jpeg", chromaSubsampling: "4:2:0" });
  const json = metadata.exif!.toString("latin1").match(/\{.*\}/)![0];
  expect(JSON.parse(json)).toEqual(parameters);
  // libjpeg's first luminance step at quality 95 is 2; at 94 it would be 2 too, at 90 it is 3.
  const bytes = readFileSync(path);
  expect(bytes[bytes.indexOf(Buffer.from([0xff, 0xdb])) + 5]).toBe(2);
});

test("a WebP holds its parameters", async () => {
  const path = join(folder, "picture.webp");
  await writeImage(path, gradient, parameters);
  const metadata = await sharp(path).metadata();
  expect(metadata.format).toBe("webp");
  const json = metadata.exif!.toString("latin1").match(/\{.*\}/)![0];
  expect(JSON.parse(json)).toEqual(parameters);
});

test("parameters that a JPEG can't hold are refused; a PNG holds them", async () => {
  const long = { prompt: "x".repeat(70_000) };
  const jpeg = join(folder, "long.jpg");
  await expect(writeImage(jpeg, gradient, long)).rejects.toThrow(/a JPEG has room for .* Take PNG/);
  expect(existsSync(jpeg)).toBe(false);
  await writeImage(jpeg, gradient, { prompt: "x".repeat(64_900) });
  const exif = (await sharp(jpeg).metadata()).exif!;
  expect(exif.toString("latin1")).toContain(`${"x".repeat(64_900)}"}`);
  const png = join(folder, "long.png");
  await writeImage(png, gradient, long);
  expect(JSON.parse((await sharp(png).metadata()).comments![0]!.text)).toEqual(long);
});

test("a name of the greatest length is written, a longer one refused beforehand", async () => {
  const longest = join(folder, `${"n".repeat(251)}.png`);
  await checkWritable(longest);
  await writeImage(longest, gradient, parameters);
  expect(existsSync(longest)).toBe(true);
  await expect(checkWritable(join(folder, `${"n".repeat(252)}.png`))).rejects.toThrow(/too long/);
});

test("a place that can't be written is refused, and nothing is left", async () => {
  mkdirSync(join(folder, "sub.png"));
  expect(() => formatOf("a.gif")).toThrow(/\.png, \.jpg, \.jpeg, \.webp/);
  await expect(checkWritable(join(folder, "sub.png"))).rejects.toThrow(/it is a folder/);
  await expect(checkWritable(join(folder, "none", "a.png"))).rejects.toThrow(/can't be written/);
  await expect(writeImage(join(folder, "none", "a.png"), gradient, {})).rejects.toThrow(
    /can't be written/,
  );
  await expect(writeImage(join(folder, "sub.png"), gradient, {})).rejects.toThrow(
    /can't be written/,
  );
  expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});
