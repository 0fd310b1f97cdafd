/** A LoRA's content with these entries in its header, in place of its own of the same names. */
export function withMetadata(content: Buffer, metadata: Readonly<Record<string, string>>): Buffer {
  const length = Number(content.readBigUInt64LE(0));
  const header = JSON.parse(content.subarray(8, 8 + length).toString());
  header.__metadata__ = { ...header.__metadata__, ...metadata };
  const text = Buffer.from(JSON.stringify(header));
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([start, text, content.subarray(8 + length)]);
}

/** The same as if this version of ai-toolkit had trained it. */
export function trainedBy(content: Buffer, version: string): Buffer {
  return withMetadata(content, { software: JSON.stringify({ name: "ai-toolkit", version }) });
}
