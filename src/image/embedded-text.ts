import sharp from "sharp";
import { InputError } from "../errors.ts";
import { readExifTexts } from "./exif-text.ts";
import { readJpegComments } from "./jpeg-comment.ts";
import type { PngTexts } from "./png-text.ts";
import { readPngTexts } from "./png-text.ts";
import { decodeText } from "./text-bytes.ts";
import { readXmpTexts } from "./xmp-text.ts";

/** A text that a program wrote into a picture's file. */
export interface EmbeddedText {
  readonly place: "PNG text" | "JPEG comment" | "Exif" | "XMP";
  /** Keyword of the chunk or comment, or name of the tag or property. */
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
 * Reads the texts that generators write into a picture's file; the picture itself is not decoded.
 *
 * @throws InputError if the bytes are no PNG, JPEG or WebP
 */
export async function readEmbeddedTexts(picture: Uint8Array): Promise<EmbeddedTexts> {
  if (picture.length > largestPicture) {
    throw new InputError(`The picture has more than ${largestPicture} bytes. Take a smaller file.`);
  }
  const png = readPngTexts(picture);
  if (png !== undefined) return ofPng(png);
  const { format, width, height, exif, xmp } = await describe(picture);
  const texts = [
    ...readJpegComments(picture).map(comment),
    ...ofExif(exif),
    ...ofXmp(xmp === undefined ? "" : decodeText(xmp)),
  ];
  return { format, width, height, texts, problems: [] };
}

function ofPng({ width, height, texts, exif, problems }: PngTexts): EmbeddedTexts {
  const isXmp = ({ keyword }: { keyword: string }) => keyword === "XML:com.adobe.xmp";
  const own = texts
    .filter((text) => !isXmp(text))
    .map(({ keyword, text }) => ({ place: "PNG text" as const, name: keyword, text }));
  const packet = texts.find(isXmp)?.text ?? "";
  const all = [...own, ...ofExif(exif ?? undefined), ...ofXmp(packet)];
  return { format: "png", width, height, texts: all, problems };
}

function ofExif(block: Uint8Array | undefined): EmbeddedText[] {
  return Array.from(readExifTexts(block ?? new Uint8Array()), ([name, text]) => ({
    place: "Exif" as const,
    name,
    text,
  }));
}

function ofXmp(packet: string): EmbeddedText[] {
  return readXmpTexts(packet).map((property) => ({ place: "XMP" as const, ...property }));
}

/** stable-diffusion.cpp puts a keyword before the text, as a PNG has one. */
function comment(bytes: Buffer): EmbeddedText {
  const [name = "", ...rest] = decodeText(bytes).split("\0");
  return rest.length === 0
    ? { place: "JPEG comment", name: "", text: name }
    : { place: "JPEG comment", name, text: rest[0]! };
}

async function describe(picture: Uint8Array): Promise<{
  readonly format: "jpeg" | "webp";
  readonly width: number;
  readonly height: number;
  readonly exif?: Uint8Array | undefined;
  readonly xmp?: Uint8Array | undefined;
}> {
  try {
    const { format, ...found } = await sharp(picture).metadata();
    if (format === "jpeg" || format === "webp") return { format, ...found };
    throw new Error(`it is ${format}`);
  } catch (error) {
    throw new InputError(
      "The file is no PNG, JPEG or WebP picture that can be read. Take the file as the program saved it.",
      { cause: error },
    );
  }
}
