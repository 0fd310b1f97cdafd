import sharp from "sharp";
import { InputError } from "../errors.ts";
import { readExifTexts } from "./exif-text.ts";
import { pngSignature, readPngTexts } from "./png-text.ts";

/** A text that a program wrote into a picture's file. */
export interface EmbeddedText {
  readonly place: "PNG text" | "Exif" | "XMP";
  /** Keyword of the chunk, or name of the tag; empty for XMP. */
  readonly name: string;
  readonly text: string;
}

export interface EmbeddedTexts {
  readonly format: "png" | "jpeg" | "webp";
  /** Of the picture, in pixels. */
  readonly width: number;
  readonly height: number;
  /** In the file's order, Exif and XMP last. */
  readonly texts: readonly EmbeddedText[];
  /** What was there and could not be read, each a sentence. */
  readonly problems: readonly string[];
}

/** Pictures of the largest size that is drawn stay below, uncompressed. */
const largestPicture = 2 ** 28;

/**
 * Reads every text in a picture's file; the picture itself is not decoded.
 *
 * @throws InputError if the bytes are no PNG, JPEG or WebP
 */
export async function readEmbeddedTexts(picture: Uint8Array): Promise<EmbeddedTexts> {
  if (picture.length > largestPicture) {
    throw new InputError(`The picture has more than ${largestPicture} bytes. Take a smaller file.`);
  }
  const { format, width, height, exif, xmp } = await describe(picture);
  const isPng = Buffer.from(picture.subarray(0, pngSignature.length)).equals(pngSignature);
  const png = isPng ? readPngTexts(picture) : { texts: [], exif: null, problems: [] };
  const exifTexts = readExifTexts(png.exif ?? exif ?? new Uint8Array());
  return {
    format,
    width,
    height,
    texts: [
      ...png.texts.map(({ keyword, text }) => ({
        place: "PNG text" as const,
        name: keyword,
        text,
      })),
      ...Array.from(exifTexts, ([name, text]) => ({ place: "Exif" as const, name, text })),
      ...(xmp === undefined
        ? []
        : [{ place: "XMP" as const, name: "", text: new TextDecoder().decode(xmp) }]),
    ],
    problems: png.problems,
  };
}

async function describe(picture: Uint8Array): Promise<{
  readonly format: "png" | "jpeg" | "webp";
  readonly width: number;
  readonly height: number;
  readonly exif?: Uint8Array | undefined;
  readonly xmp?: Uint8Array | undefined;
}> {
  try {
    const { format, ...found } = await sharp(picture).metadata();
    if (format === "png" || format === "jpeg" || format === "webp") return { format, ...found };
    throw new Error(`it is ${format}`);
  } catch (error) {
    throw new InputError(
      "The file is no PNG, JPEG or WebP picture that can be read. Take the file as the program saved it.",
      { cause: error },
    );
  }
}
