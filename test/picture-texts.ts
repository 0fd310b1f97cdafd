import { crc32 } from "node:zlib";
import type { Sharp } from "sharp";
import sharp from "sharp";

/** A small picture as PNG. */
export function blankPng(width = 64, height = 64): Promise<Buffer<ArrayBuffer>> {
  return blank(width, height).png().toBuffer();
}

export function blank(width: number, height: number): Sharp {
  return sharp({ create: { width, height, channels: 3, background: "gray" } });
}

/** Puts chunks behind a PNG's header. */
export function withChunks(png: Uint8Array, ...chunks: readonly Buffer[]): Buffer {
  return Buffer.concat([png.subarray(0, 33), ...chunks, png.subarray(33)]);
}

export function pngChunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, checksum]);
}

/** A tEXt chunk, as Pillow writes a text that Latin-1 can hold. */
export function textChunk(keyword: string, text: string): Buffer {
  return pngChunk("tEXt", Buffer.from(`${keyword}\0${text}`, "latin1"));
}

/** An Exif block as piexif writes it: big-endian, a UserComment in the Exif directory, nothing else. */
export function exifWithComment(comment: Uint8Array): Buffer {
  const head = Buffer.alloc(44);
  head.write("MM\0*", 0, "latin1");
  head.writeUInt32BE(8, 4);
  // The first directory: one entry, where the Exif directory is.
  head.writeUInt16BE(1, 8);
  entry(head, 10, 0x8769, 4, 1, 26);
  // The Exif directory: one entry, the comment behind it.
  head.writeUInt16BE(1, 26);
  entry(head, 28, 0x9286, 7, comment.length, 44);
  return Buffer.concat([Buffer.from("Exif\0\0", "latin1"), head, comment]);
}

function entry(
  to: Buffer,
  at: number,
  tag: number,
  type: number,
  count: number,
  value: number,
): void {
  to.writeUInt16BE(tag, at);
  to.writeUInt16BE(type, at + 2);
  to.writeUInt32BE(count, at + 4);
  to.writeUInt32BE(value, at + 8);
}

/** A UserComment as piexif's helper makes it of a text. */
export function unicodeComment(text: string): Buffer {
  return Buffer.concat([Buffer.from("UNICODE\0", "latin1"), Buffer.from(text, "utf16le").swap16()]);
}

/** Puts an Exif block into a JPEG. */
export function jpegWithExif(jpeg: Uint8Array, exif: Uint8Array): Buffer {
  const head = Buffer.from([0xff, 0xe1, 0, 0]);
  head.writeUInt16BE(exif.length + 2, 2);
  return Buffer.concat([jpeg.subarray(0, 2), head, exif, jpeg.subarray(2)]);
}
