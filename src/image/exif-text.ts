import { decodeText } from "./text-bytes.ts";

/** Texts of an Exif block that generators write into; the names are the standard's. */
const textTags: ReadonlyMap<number, string> = new Map([
  [0x010e, "ImageDescription"],
  [0x010f, "Make"],
  [0x0110, "Model"],
  [0x0131, "Software"],
  [0x9286, "UserComment"],
]);

const exifPointer = 0x8769;

/** Directories of cameras hold some fifty entries. */
const mostEntries = 200;

/**
 * Reads the texts of an Exif block, with or without its "Exif" mark. A library's reader would decode every
 * entry, and each entry of a hostile block may stand for the whole block: only these five texts are read.
 * Format: TIFF 6.0, section 2; Exif 2.32, section 4.6.
 *
 * @returns by tag name; nothing where the block is damaged from there on
 */
export function readExifTexts(block: Uint8Array): Map<string, string> {
  const marked = Buffer.from(block.subarray(0, 6)).toString("latin1") === "Exif\0\0";
  const bytes = Buffer.from(block.buffer, block.byteOffset, block.byteLength).subarray(
    marked ? 6 : 0,
  );
  const texts = new Map<string, string>();
  const order = bytes.toString("latin1", 0, 2);
  if ((order !== "II" && order !== "MM") || bytes.length < 8) return texts;
  const little = order === "II";
  const short = (at: number) => (little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at));
  const long = (at: number) => (little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));

  /** @returns where the Exif directory is, if this one names it */
  function readDirectory(start: number): number | undefined {
    if (start + 2 > bytes.length) return undefined;
    let inner: number | undefined;
    const entries = Math.min(short(start), mostEntries);
    for (let i = 0; i < entries; i++) {
      const entry = start + 2 + 12 * i;
      if (entry + 12 > bytes.length) break;
      const tag = short(entry);
      if (tag === exifPointer) inner = long(entry + 8);
      const name = textTags.get(tag);
      const isText = [1, 2, 7].includes(short(entry + 2));
      if (name === undefined || !isText || texts.has(name)) continue;
      const count = long(entry + 4);
      const from = count <= 4 ? entry + 8 : long(entry + 8);
      if (from + count > bytes.length) continue;
      const value = bytes.subarray(from, from + count);
      texts.set(name, name === "UserComment" ? decodeUserComment(value) : unpadded(value));
    }
    return inner;
  }

  const exif = readDirectory(long(4));
  if (exif !== undefined) readDirectory(exif);
  return texts;
}

/**
 * A UserComment begins with eight bytes that name its encoding. "UNICODE" says neither which nor in what
 * order: piexif writes UTF-16 big-endian into blocks of either order, other programs follow the block's.
 */
function decodeUserComment(value: Buffer): string {
  const code = value.toString("latin1", 0, 8);
  const rest = value.subarray(8);
  if (code === "UNICODE\0") return decodeUtf16(rest);
  if (code === "ASCII\0\0\0" || code === "\0".repeat(8)) return unpadded(rest);
  return unpadded(value);
}

function decodeUtf16(bytes: Buffer): string {
  let zerosFirst = 0;
  let zerosSecond = 0;
  for (let at = 0; at + 1 < bytes.length; at += 2) {
    if (bytes[at] === 0) zerosFirst++;
    if (bytes[at + 1] === 0) zerosSecond++;
  }
  const marked = bytes[0] === 0xff && bytes[1] === 0xfe;
  // Parameters hold many ASCII letters: the half that is zero in them is the upper one.
  const encoding = marked || zerosSecond > zerosFirst ? "utf-16le" : "utf-16be";
  return withoutPadding(new TextDecoder(encoding).decode(bytes));
}

function unpadded(bytes: Buffer): string {
  return withoutPadding(decodeText(bytes));
}

function withoutPadding(text: string): string {
  const end = text.indexOf("\0");
  return end === -1 ? text : text.slice(0, end);
}
