import { inflateSync } from "node:zlib";
import { messageOf } from "../errors.ts";
import { decodeText } from "./text-bytes.ts";

const pngSignature: Buffer = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");

export interface PngTexts {
  /** Of the picture, in pixels. */
  readonly width: number;
  readonly height: number;
  /** In the file's order. */
  readonly texts: readonly { readonly keyword: string; readonly text: string }[];
  /** The eXIf chunk. */
  readonly exif: Uint8Array | null;
  /** What was there and could not be read, each a sentence. */
  readonly problems: readonly string[];
}

/** Of all texts of a file, unpacked. A workflow with pictures inside has a few MiB. */
const longestTexts = 2 ** 24;

/** Of one file. */
const mostTexts = 256;

/** IHDR: its length, type, 13 bytes and checksum. */
const headerBytes = 4 + 4 + 13 + 4;

/**
 * Reads the text chunks of a PNG, wherever they stand, compressed or not. sharp reads them too, but takes
 * tEXt for UTF-8 though it is Latin-1, and unpacks a hostile file's to the end.
 * Format: https://www.w3.org/TR/png-3/#11textinfo
 *
 * @returns undefined if the bytes are no PNG
 */
export function readPngTexts(png: Uint8Array): PngTexts | undefined {
  const bytes = Buffer.from(png.buffer, png.byteOffset, png.byteLength);
  const isPng = bytes.subarray(0, pngSignature.length).equals(pngSignature);
  if (!isPng || bytes.length < pngSignature.length + headerBytes) return undefined;
  if (bytes.toString("latin1", 12, 16) !== "IHDR") return undefined;
  const [width, height] = [bytes.readUInt32BE(16), bytes.readUInt32BE(20)];
  if (width === 0 || height === 0) return undefined;
  const texts: { keyword: string; text: string }[] = [];
  const problems: string[] = [];
  let exif: Uint8Array | null = null;
  let room = longestTexts;
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
        const text = decodeText(textOf(type, data.subarray(end + 1), room));
        room -= text.length;
        texts.push({ keyword, text });
      } catch (error) {
        problems.push(`The text chunk "${keyword}" can't be read: ${messageOf(error)}.`);
      }
    }
    // Behind the data stands a checksum of four bytes.
    at += 12 + length;
  }
  return { width, height, texts, exif, problems };
}

/**
 * The bytes of a text. They are Latin-1 by the standard outside of iTXt; stable-diffusion.cpp writes UTF-8.
 *
 * @param data what follows the keyword and its zero
 * @param room how many bytes it may have
 */
function textOf(type: "tEXt" | "zTXt" | "iTXt", data: Buffer, room: number): Buffer {
  if (type === "tEXt") return within(data, room);
  if (type === "zTXt") {
    if (data[0] !== 0) throw new Error("it is compressed in a way that PNG doesn't know");
    return inflated(data.subarray(1), room);
  }
  const [isCompressed, method] = data;
  const language = data.indexOf(0, 2);
  const translated = language === -1 ? -1 : data.indexOf(0, language + 1);
  if (translated === -1) throw new Error("its header has no end");
  const text = data.subarray(translated + 1);
  if (isCompressed === 0) return within(text, room);
  if (isCompressed !== 1 || method !== 0)
    throw new Error("it is compressed in a way that PNG doesn't know");
  return inflated(text, room);
}

function within(data: Buffer, room: number): Buffer {
  if (data.length > room) throw new Error(tooLong);
  return data;
}

function inflated(data: Buffer, room: number): Buffer {
  try {
    return inflateSync(data, { maxOutputLength: Math.max(1, room) });
  } catch (error) {
    throw new Error(error instanceof RangeError ? tooLong : "it is damaged", { cause: error });
  }
}

const tooLong = `with it the texts have more than ${longestTexts} bytes`;
