const marker = { quantisation: 0xdb, scan: 0xda } as const;

/**
 * Whether two JPEGs were encoded with the same quality: with equal quantisation tables, however they
 * are spread over segments (ITU-T T.81, B.2.4.1).
 */
export function sameQuality(a: Uint8Array, b: Uint8Array): boolean {
  const tables = tablesOf(b);
  const others = tablesOf(a);
  return (
    tables.size === others.size &&
    [...tables].every(([id, table]) => others.get(id)?.equals(table) === true)
  );
}

/** By precision and id. */
function tablesOf(jpeg: Uint8Array): Map<number, Buffer> {
  const bytes = Buffer.from(jpeg.buffer, jpeg.byteOffset, jpeg.byteLength);
  const tables = new Map<number, Buffer>();
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff; ) {
    const kind = bytes[at + 1];
    if (kind === marker.scan) break;
    const end = at + 2 + bytes.readUInt16BE(at + 2);
    if (kind === marker.quantisation) {
      for (let table = at + 4; table < Math.min(end, bytes.length); ) {
        const id = bytes[table]!;
        const next = table + 1 + (id < 16 ? 64 : 128);
        tables.set(id, bytes.subarray(table + 1, next));
        table = next;
      }
    }
    at = end;
  }
  return tables;
}
