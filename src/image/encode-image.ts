import { crc32 } from "node:zlib";
import sharp from "sharp";
import { InputError } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Interleaved RGB bytes. */
export interface Pixels {
  readonly data: Uint8Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
}

/**
 * Rounds a picture [3, H, W] in [0, 1] to bytes as diffusers does:
 * `(images * 255).round().astype("uint8")`, halves to even.
 */
export function toPixels({ data, shape }: Tensor): Pixels {
  const height = shape[1]!;
  const width = shape[2]!;
  const plane = width * height;
  const bytes = new Uint8Array(3 * plane);
  for (let channel = 0; channel < 3; channel++) {
    for (let i = 0; i < plane; i++) {
      bytes[3 * i + channel] = roundHalfToEven(Math.fround(data[channel * plane + i]! * 255));
    }
  }
  return { data: bytes, width, height };
}

function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Signature, then IHDR: its length, type, 13 bytes and checksum. */
const afterHeader = 8 + 4 + 4 + 13 + 4;

/**
 * Puts a text chunk behind a PNG's header, as sharp can't write one. iTXt holds
 * UTF-8. Format: https://www.w3.org/TR/png-3/#11iTXt
 */
function insertPngText(png: Uint8Array, keyword: string, text: string): Uint8Array {
  // Keyword, 0, not compressed (0, 0), no language, no translated keyword, text.
  const data = Buffer.concat([
    Buffer.from(`iTXt${keyword}\0\0\0\0\0`, "latin1"),
    Buffer.from(text),
  ]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length - 4);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(data));
  return Buffer.concat([
    png.subarray(0, afterHeader),
    length,
    data,
    checksum,
    png.subarray(afterHeader),
  ]);
}

export type ImageFormat = "png" | "jpeg" | "webp";

/** As the reference server saves its pictures; chroma as Pillow does by default. */
const jpegOptions = { quality: 95, chromaSubsampling: "4:2:0" };

/** A JPEG segment has at most 65,533 bytes; Exif's own entries take the rest. */
const mostExifText = 65_000;

/** Close to the JPEG's: libwebp's scale is another. */
const webpOptions = { quality: 95 };

/**
 * A picture as a file's bytes.
 *
 * @param image [3, H, W] in [0, 1]
 * @param parameters what made it; kept in the file as JSON (PNG: text chunk
 *   `parameters`; JPEG, WebP: Exif ImageDescription)
 * @throws InputError if the parameters don't fit
 */
export async function encodeImage(
  image: Tensor,
  format: ImageFormat,
  parameters: object,
): Promise<Uint8Array> {
  const { data, width, height } = toPixels(image);
  const raw = sharp(data, { raw: { width, height, channels: 3 } });
  const json = JSON.stringify(parameters);
  if (format === "png") return insertPngText(await raw.png().toBuffer(), "parameters", json);
  const exif = { IFD0: { ImageDescription: exifText(json) } };
  const encoded = format === "jpeg" ? raw.jpeg(jpegOptions) : raw.webp(webpOptions);
  return encoded.withExif(exif).toBuffer();
}

/**
 * A picture as ai-toolkit saves a preview: Pillow's `image.save(path)` with its defaults, which
 * are quality 75 with halved chroma for JPEG, quality 80 and method 4 for WebP. sharp makes
 * the same pixels of them, for WebP the same bytes (test/golden/encoded).
 */
export async function encodeAsTrainer(
  { data, width, height }: Pixels,
  format: ImageFormat,
): Promise<Uint8Array> {
  const raw = sharp(data, { raw: { width, height, channels: 3 } });
  switch (format) {
    case "png":
      return raw.png().toBuffer();
    case "jpeg":
      return raw.jpeg({ quality: 75, chromaSubsampling: "4:2:0" }).toBuffer();
    case "webp":
      return raw.webp({ quality: 80, effort: 4 }).toBuffer();
  }
}

/** Exif text is ASCII: other characters become JSON escapes, which read back the same. */
function exifText(json: string): string {
  const text = json.replace(
    /[^\0-\x7f]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  // libvips would write it cut off, which no reader takes.
  if (text.length > mostExifText) {
    throw new InputError(
      `The picture can't hold its parameters: a JPEG has room for ${mostExifText} bytes of text, and they ` +
        `are ${text.length}. Take PNG, or shorten the prompt.`,
    );
  }
  return text;
}
