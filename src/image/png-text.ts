import { inflateSync } from "node:zlib";
import { messageOf } from "../errors.ts";
import { decodeText } from "./text-bytes.ts";

export const pngSignature: Buffer = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");

export interface PngTexts {
  /** In the file's order. */
  readonly texts: readonly { readonly keyword: string; readonly text: string }[];
  /** The eXIf chunk. */
  readonly exif: Uint8Array | null;
  /** What was there and could not be read, each a sentence. */
  readonly problems: readonly string[];
}

/** A workflow with pictures inside has a few MiB. */
const longestText = 2 ** 24;

/** Of one file. */
const mostTexts = 256;

/**
 * Reads the text chunks of a PNG, wherever they stand, compressed or not. sharp reads them too, but takes
 * tEXt for UTF-8 though it is Latin-1, and stops at the picture's data.
 * Format: https://www.w3.org/TR/png-3/#11textinfo
 *
 * @param png bytes that begin with the signature
 */
export function readPngTexts(png: Uint8Array): PngTexts {
  const bytes = Buffer.from(png.buffer, png.byteOffset, png.byteLength);
  const texts: { keyword: string; text: string }[] = [];
  const problems: string[] = [];
  let exif: Uint8Array | null = null;
  let at = pngSignature.length;
  while (at + 8 <= bytes.length) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.toString("latin1", at + 4, at + 8);
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (data.length < length) {
      problems.push("The file ends in the middle of a chunk: it was not copied whole.");
      break;
    }
    if (type === "IEND") break;
    if (type === "eXIf") exif ??= data;
    if (type === "tEXt" || type === "zTXt" || type === "iTXt") {
      if (texts.length === mostTexts) {
        problems.push(`There are more than ${mostTexts} text chunks: the rest is not read.`);
        break;
      }
      const end = data.indexOf(0);
      const keyword = data.toString("latin1", 0, end === -1 ? data.length : end).slice(0, 79);
      try {
        if (end === -1) throw new Error("its keyword has no end");
        texts.push({ keyword, text: textOf(type, data.subarray(end + 1)) });
      } catch (error) {
        problems.push(`The text chunk "${keyword}" can't be read: ${messageOf(error)}.`);
      }
    }
    // Behind the data stands a checksum of four bytes.
    at += 12 + length;
  }
  return { texts, exif, problems };
}

/** @param data what follows the keyword and its zero */
function textOf(type: "tEXt" | "zTXt" | "iTXt", data: Buffer): string {
  // Latin-1 by the standard; stable-diffusion.cpp writes UTF-8.
  if (type === "tEXt") return decodeText(within(data));
  if (type === "zTXt") {
    if (data[0] !== 0) throw new Error("it is compressed in a way that PNG doesn't know");
    return decodeText(inflated(data.subarray(1)));
  }
  const [isCompressed, method] = data;
  const language = data.indexOf(0, 2);
  const translated = language === -1 ? -1 : data.indexOf(0, language + 1);
  if (translated === -1) throw new Error("its header has no end");
  const text = data.subarray(translated + 1);
  if (isCompressed === 0) return within(text).toString("utf8");
  if (isCompressed !== 1 || method !== 0)
    throw new Error("it is compressed in a way that PNG doesn't know");
  return inflated(text).toString("utf8");
}

function within(data: Buffer): Buffer {
  if (data.length > longestText) throw new Error(`it has more than ${longestText} bytes`);
  return data;
}

function inflated(data: Buffer): Buffer {
  try {
    return inflateSync(data, { maxOutputLength: longestText });
  } catch (error) {
    const isLong = error instanceof RangeError;
    throw new Error(isLong ? `it has more than ${longestText} bytes` : "it is damaged", {
      cause: error,
    });
  }
}
