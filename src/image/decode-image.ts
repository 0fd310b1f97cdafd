import sharp from "sharp";
import { InputError, messageOf } from "../errors.ts";
import type { ImageFormat, Pixels } from "./encode-image.ts";

export interface DecodedImage extends Pixels {
  /** By its content, whatever its name says. */
  readonly format: ImageFormat;
}

/** The largest picture that is decoded: 8192 x 8192. Four times what a request may ask for. */
const mostPixels = 2 ** 26;

/** A progressive JPEG can hold thousands of scans, each of them work for every pixel. */
const longestSeconds = 60;

/**
 * A PNG, JPEG or WebP as interleaved RGB bytes; alpha is dropped. Every picture that is compared
 * comes through here: decoders differ by a few steps of 255, so both sides need the same one. This
 * one (libjpeg's accurate DCT, smooth chroma) gives the same pixels as Pillow's.
 *
 * @param name of the file, for the message
 * @throws InputError naming the file if it is cut, damaged, too large or of another format
 */
export async function decodeImage(bytes: Uint8Array, name: string): Promise<DecodedImage> {
  const format = formatOfBytes(bytes);
  // Before anything is decoded: libvips would also open formats that read other files, such as SVG.
  if (format === null) {
    throw new InputError(
      `${name} is not a picture that can be read: it is ${bytes.length === 0 ? "empty" : "no PNG, JPEG or WebP"}. ` +
        "Copy the file again.",
    );
  }
  try {
    const { data, info } = await sharp(bytes, { limitInputPixels: mostPixels, failOn: "error" })
      .timeout({ seconds: longestSeconds })
      .toColourspace("srgb")
      .removeAlpha()
      .raw()
      .toBuffer({ resolveWithObject: true });
    return { data: new Uint8Array(data), width: info.width, height: info.height, format };
  } catch (error) {
    throw unreadable(name, messageOf(error), error);
  }
}

function unreadable(name: string, message: string, cause: unknown): InputError {
  if (message.includes("exceeds pixel limit")) {
    return new InputError(
      `${name} is larger than ${mostPixels} pixels, the most that is decoded. Take a smaller picture.`,
      { cause },
    );
  }
  return new InputError(
    `${name} can't be decoded: it is cut off or damaged (${message}). Copy the file again.`,
    { cause },
  );
}

/** The format that a file's first bytes say, or null. */
function formatOfBytes(bytes: Uint8Array): ImageFormat | null {
  const start = Buffer.from(bytes.subarray(0, 12)).toString("latin1");
  if (start.startsWith("\xff\xd8\xff")) return "jpeg";
  if (start.startsWith("\x89PNG\r\n\x1a\n")) return "png";
  if (start.startsWith("RIFF") && start.endsWith("WEBP")) return "webp";
  return null;
}
