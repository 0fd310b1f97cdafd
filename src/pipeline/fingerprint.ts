import { createHash } from "node:crypto";
import { open, realpath } from "node:fs/promises";
import { basename } from "node:path";
import { identityOf, readExactly } from "../files/read.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import type { Component, Components } from "./components.ts";

/**
 * Which weights a pipeline runs, by component. `sha256:…` is the content's hash
 * where the hub's cache names its files by it. `sampled:…` is one over every
 * file's size and 256 pieces: hashing 20 GB would cost more than a
 * picture. Both are the same on every machine.
 */
export type WeightsFingerprint = Readonly<Record<"text_encoder" | "transformer" | "vae", string>>;

export async function fingerprintWeights({
  textEncoder,
  transformer,
  vae,
}: Components): Promise<WeightsFingerprint> {
  return {
    text_encoder: await fingerprint(textEncoder),
    transformer: await fingerprint(transformer),
    vae: await fingerprint(vae),
  };
}

/** Size of all weights, as stored. */
export function weightBytes({ textEncoder, transformer, vae }: Components): number {
  let bytes = 0;
  for (const { weights } of [textEncoder, transformer, vae])
    for (const span of weights.values()) bytes += bytesOfWeight(span);
  return bytes;
}

const contentName = /^[0-9a-f]{64}$/;

function bytesOfWeight({ byteLength, scale, blocks }: WeightSpan): number {
  return [scale, blocks?.scales, blocks?.offsets].reduce(
    (bytes, part) => bytes + (part?.byteLength ?? 0),
    byteLength,
  );
}

/** Weights that were rounded on load are not the file's: the quantisation is part of their name. */
async function fingerprint(
  component: Pick<Component<unknown>, "sources" | "quantization">,
): Promise<string> {
  const plain = await fingerprintFiles(component.sources);
  return component.quantization === "int8" ? `${plain}+int8` : plain;
}

async function fingerprintFiles(sources: readonly string[]): Promise<string> {
  const files = await Promise.all(sources.map((file) => realpath(file)));
  const names = files.map((file) => basename(file));
  if (names.every((name) => contentName.test(name))) {
    const [only] = names;
    if (names.length === 1) return `sha256:${only}`;
    return `sha256:${createHash("sha256").update(names.toSorted().join("\n")).digest("hex")}`;
  }
  const hash = createHash("sha256");
  for (const file of files) await hashSamples(file, hash);
  return `sampled:${hash.digest("hex")}`;
}

const samples = 256;
const sampleBytes = 4096;

async function hashSamples(file: string, hash: ReturnType<typeof createHash>): Promise<void> {
  const handle = await open(file, "r");
  try {
    const { size } = await handle.stat();
    hash.update(`${size} `);
    const distance = Math.max(size / samples, sampleBytes);
    for (let at = 0; at < size; at += distance) {
      const start = Math.floor(at);
      const piece = Buffer.alloc(Math.min(sampleBytes, size - start));
      await readExactly(handle, piece, start, file);
      hash.update(piece);
    }
  } finally {
    await handle.close();
  }
}

/** Says whether files are still the ones that were opened; for this machine only. */
export async function weightsIdentity(components: Components): Promise<string> {
  const files = new Set<string>();
  for (const { weights, sources } of [
    components.textEncoder,
    components.transformer,
    components.vae,
  ]) {
    for (const { file } of weights.values()) files.add(file);
    for (const file of sources) files.add(file);
  }
  const identities = await Promise.all([...files].toSorted().map(identityOf));
  return identities.join("\n");
}
