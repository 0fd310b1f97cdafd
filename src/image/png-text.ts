import { crc32 } from "node:zlib";

/** Signature, then IHDR: its length, type, 13 bytes and checksum. */
const afterHeader = 8 + 4 + 4 + 13 + 4;

/**
 * Puts a text chunk behind a PNG's header, as sharp can't write one. iTXt holds
 * UTF-8. Format: https://www.w3.org/TR/png-3/#11iTXt
 */
export function insertPngText(png: Uint8Array, keyword: string, text: string): Uint8Array {
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
