import { createHash } from "node:crypto";
import { open, readdir, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { identityOf, readExactly } from "../files/read.ts";
import type { ModelDefinition } from "../models/registry.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import { findRepository, repositoryFolder } from "../weights/store.ts";
import type { Components } from "./components.ts";
import { sourcesOf } from "./components.ts";

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
  asTrained,
  held,
}: Components): Promise<WeightsFingerprint> {
  const rounded = (method: string | null | undefined) =>
    asTrained === null
      ? ""
      : `+${method === null || method === undefined ? "" : `${method} `}${asTrained.rounding.dtype}`;
  const adapter = asTrained?.adapter ?? null;
  const merged = adapter === null ? "" : `+adapter ${await fingerprintFiles([adapter])}`;
  const { rounding } = asTrained ?? {};
  // What changes their numbers on a device is done last. f16 holds most weights exactly.
  const storage = `${held.storage === "int8" ? "+int8" : ""}${held.rounded > 0 ? "+f16" : ""}`;
  return {
    text_encoder: (await fingerprintFiles(textEncoder.sources)) + rounded(rounding?.textEncoder),
    transformer:
      (await fingerprintFiles(transformer.sources)) +
      rounded(rounding?.transformer) +
      (rounding?.embedders === true ? " embedders" : "") +
      merged +
      storage,
    vae: (await fingerprintFiles(vae.sources)) + rounded(null),
  };
}

/** Size of all weights, as stored. */
export function weightBytes({ textEncoder, transformer, vae }: Components): number {
  let bytes = 0;
  for (const { weights } of [textEncoder, transformer, vae])
    for (const span of weights.values()) bytes += bytesOf(span);
  return bytes;
}

const contentName = /^[0-9a-f]{64}$/;

/** Of one weight, its scales included. */
export function bytesOf({ byteLength, scale, blocks }: WeightSpan): number {
  return [scale, blocks?.scales, blocks?.offsets].reduce(
    (bytes, part) => bytes + (part?.byteLength ?? 0),
    byteLength,
  );
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

/**
 * Names what a model's parts are read from as it is now, without opening a file: one that is
 * written again, comes or goes changes it. For this machine only.
 *
 * @param transformer a file in place of the store's transformer
 * @throws InputError if the store doesn't have the model
 */
export async function sourcesIdentity(
  weights: string,
  model: ModelDefinition,
  transformer: string | undefined,
): Promise<string> {
  const sources = sourcesOf(model);
  const rest = await repositoryFolder(weights, sources.rest);
  const own = await findRepository(weights, sources.transformer);
  const folders = ["tokenizer", "text_encoder", "vae", "scheduler"].map((name) => join(rest, name));
  if (own !== undefined) folders.push(join(own, "transformer"));
  // A configuration beside a transformer's file is read too.
  const files = transformer === undefined ? [] : [transformer, beside(transformer)];
  const identities = await Promise.all([
    ...folders.map(filesIdentity),
    ...files.map((file) => identityOf(file).catch(() => `${file} is not there`)),
  ]);
  return identities.join("\n");
}

async function filesIdentity(folder: string): Promise<string> {
  const names = await readdir(folder).catch(() => []);
  const identities = names
    .toSorted()
    .map((name) => identityOf(join(folder, name)).catch(() => `${name} is not there`));
  return [folder, ...(await Promise.all(identities))].join("\n");
}

function beside(file: string): string {
  return join(dirname(file), "config.json");
}

/** Names the files that hold the weights as they are now, those among them that were made in the cache. */
export async function weightsIdentity(components: Components): Promise<string> {
  const files = new Set<string>();
  if (components.asTrained?.adapter != null) files.add(components.asTrained.adapter);
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
