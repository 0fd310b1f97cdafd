/**
 * The comments of a JPEG, which sharp doesn't read.
 * Format: ITU-T T.81, annex B.
 *
 * @param jpeg any bytes; what is no JPEG has no comments
 */
export function readJpegComments(jpeg: Uint8Array): Buffer[] {
  const bytes = Buffer.from(jpeg.buffer, jpeg.byteOffset, jpeg.byteLength);
  const comments: Buffer[] = [];
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return comments;
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff; ) {
    const marker = bytes[at + 1]!;
    // The picture's data begins.
    if (marker === 0xda) break;
    const length = bytes.readUInt16BE(at + 2);
    if (length < 2) break;
    if (marker === 0xfe) comments.push(bytes.subarray(at + 4, at + 2 + length));
    at += 2 + length;
  }
  return comments;
}
