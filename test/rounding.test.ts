import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { Rounding } from "../src/job/rounding.ts";
import { roundingMethods } from "../src/job/rounding.ts";
import { modelById } from "../src/models/registry.ts";
import type { WeightSpan } from "../src/onnx/graph.ts";
import { roundComponents } from "../src/pipeline/as-trained.ts";
import type { Components } from "../src/pipeline/components.ts";
import { openComponents } from "../src/pipeline/components.ts";
import { roundRows } from "../src/weights/round-rows.ts";
import { readF32, readSafetensors } from "../src/weights/safetensors.ts";
import { writeSafetensors } from "../src/weights/write-safetensors.ts";
import { goldenFolder, readGolden } from "./golden.ts";

// The goldens are optimum-quanto's and torchao's own: reference/golden_rounding.py.

const cacheFolder = mkdtempSync(join(tmpdir(), "retake-rounding-"));
afterAll(() => rmSync(cacheFolder, { recursive: true }));

const whole = await readSafetensors(join(goldenFolder, "rounding/matrices.safetensors"));
const hashes = readGolden<Record<string, Record<string, string>>>("rounding/hashes.json");
const asInUi: Rounding = {
  transformer: "quanto",
  textEncoder: "quanto",
  embedders: true,
  adapter: null,
  dtype: "bf16",
};
const adapter = "ostris/zimage_turbo_training_adapter/zimage_turbo_training_adapter_v2.safetensors";

const fault = (what: string) => new Error(what);

/** The same numbers, or both not a number; zeros by their sign too. */
function differences(ours: Float32Array, theirs: Float32Array): number {
  let count = Math.abs(ours.length - theirs.length);
  for (let i = 0; i < theirs.length; i++) if (!Object.is(ours[i], theirs[i])) count++;
  return count;
}

const dtypes = ["bf16", "f16", "f32"] as const;

test.each(dtypes.flatMap((dtype) => roundingMethods.map((method) => [method, dtype] as const)))(
  "%s's values in %s, to the bit: ties, subnormals, rows of any size",
  async (method, dtype) => {
    for (const name of ["rows", "sizes"]) {
      const given = whole.tensors.get(`${dtype}.${name}`);
      if (given === undefined) continue;
      const { data, shape } = await readF32(given);
      const theirs = await readF32(whole.tensors.get(`${dtype}.${name}.${method}`)!);
      roundRows(data, shape[1]!, { method, dtype }, fault);
      expect(differences(data, theirs.data), name).toBe(0);
    }
  },
);

test("a row of zeros stays so with torchao; with quanto, where it becomes NaN, it is refused", async () => {
  const zeros = await readF32(whole.tensors.get("bf16.zeros")!);
  const columns = zeros.shape[1]!;
  for (const method of ["torchao", "uint2", "uint7"] as const) {
    roundRows(zeros.data, columns, { method, dtype: "bf16" }, fault);
    const theirs = await readF32(whole.tensors.get(`bf16.zeros.${method}`)!);
    expect(differences(zeros.data, theirs.data)).toBe(0);
  }
  const quanto = await readF32(whole.tensors.get("bf16.zeros.quanto")!);
  expect(quanto.data.every(Number.isNaN)).toBe(true);
  const round = () => roundRows(zeros.data, columns, { method: "quanto", dtype: "bf16" }, fault);
  expect(round).toThrow("row of zeros");
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])("%s among the weights is refused", (value) => {
  for (const method of roundingMethods) {
    const row = new Float32Array(64).fill(1).fill(value, 7, 8);
    const round = () => roundRows(row, 64, { method, dtype: "bf16" }, fault);
    expect(round, method).toThrow("NaN or infinity");
  }
});

async function rounded(rounding: Rounding, transformer?: string): Promise<Components> {
  const opened = await openComponents("demo", modelById("zimage_turbo"), {
    cacheFolder,
    ...(transformer === undefined ? {} : { transformer }),
  });
  return roundComponents(opened, ["demo"], rounding, { cacheFolder });
}

async function hashesOf(weights: ReadonlyMap<string, WeightSpan>, names: readonly string[]) {
  const found: Record<string, string> = {};
  for (const name of names) {
    const span = weights.get(name)!;
    const bytes = (await readFile(span.file)).subarray(span.offset, span.offset + span.byteLength);
    found[name] = createHash("sha256").update(bytes).digest("hex");
  }
  return found;
}

const unread = "model.layers.3.";

/** What is rounded of the demonstration's Turbo, whole, against what the trainer's libraries make of it. */
async function expectHashes(part: "transformer" | "textEncoder", rounding: Rounding, kind: string) {
  const { [part]: component } = await rounded(rounding);
  // The text encoder's last layer is never read.
  const theirs = Object.fromEntries(
    Object.entries(hashes[kind]!).filter(([name]) => !name.startsWith(unread)),
  );
  expect(await hashesOf(component.weights, Object.keys(theirs)), kind).toEqual(theirs);
}

test("every matrix of the transformer, by both methods, with the adapter and without", async () => {
  await expectHashes("transformer", asInUi, "transformer.quanto");
  await expectHashes("transformer", { ...asInUi, transformer: "torchao" }, "transformer.torchao");
  await expectHashes(
    "transformer",
    { ...asInUi, transformer: "torchao", adapter },
    "transformer.torchao+adapter",
  );
  await expectHashes(
    "transformer",
    { ...asInUi, transformer: null, adapter },
    "transformer.merged",
  );
});

test("every matrix of the text encoder but its embeddings", async () => {
  await expectHashes("textEncoder", asInUi, "text_encoder.quanto");
  await expectHashes("textEncoder", { ...asInUi, textEncoder: "torchao" }, "text_encoder.torchao");
  const { textEncoder } = await rounded(asInUi);
  const opened = await openComponents("demo", modelById("zimage_turbo"));
  const embeddings = "model.embed_tokens.weight";
  expect(textEncoder.weights.get(embeddings)).toEqual(opened.textEncoder.weights.get(embeddings));
});

test("matrices whose columns the groups of 64 don't fill stay, and so does a float32 job's rest", async () => {
  const opened = await openComponents("demo", modelById("zimage_turbo"));
  const { transformer, vae } = await rounded({ ...asInUi, transformer: "uint4", dtype: "f32" });
  expect(vae.weights).toEqual(opened.vae.weights);
  for (const [name, span] of transformer.weights) {
    const isRounded =
      span.shape.length === 2 && name.endsWith(".weight") && span.shape[1]! % 64 === 0;
    expect(span.dtype, name).toBe(isRounded ? "F32" : "BF16");
  }
});

test("newer trainers leave four embedders as they are", async () => {
  const { transformer } = await rounded({ ...asInUi, embedders: false });
  const opened = await openComponents("demo", modelById("zimage_turbo"));
  const kept = [...transformer.weights].filter(
    ([name, span]) =>
      span.shape.length === 2 && span.file === opened.transformer.weights.get(name)?.file,
  );
  expect(kept.map(([name]) => name.split(".")[0]).toSorted()).toEqual([
    "all_final_layer",
    "all_final_layer",
    "all_x_embedder",
    "cap_embedder",
    "cap_pad_token",
    "t_embedder",
    "t_embedder",
    "x_pad_token",
  ]);
});

test("weights that are stored in f32 are rounded to bf16 first, as the trainer loads them", async () => {
  const { transformer } = await openComponents("demo", modelById("zimage_turbo"));
  const wide = new Map<string, { data: Float32Array<ArrayBuffer>; shape: readonly number[] }>();
  for (const [name, span] of transformer.weights) {
    const { data, shape } = await readF32(span);
    // Less than half of bf16's last place: rounding takes it away again.
    wide.set(name, { data: data.map((value) => value * (1 + 2 ** -10)), shape });
  }
  const file = join(cacheFolder, "wide.safetensors");
  await writeSafetensors(file, wide, {});
  const { transformer: narrow } = await rounded(
    { ...asInUi, transformer: "torchao", adapter },
    file,
  );
  const theirs = hashes["transformer.torchao+adapter"]!;
  expect(await hashesOf(narrow.weights, Object.keys(theirs))).toEqual(theirs);
  expect([...narrow.weights.values()].every(({ dtype }) => dtype === "BF16")).toBe(true);
});

test("weights of less than 16 bits are refused by name", async () => {
  const store = join(goldenFolder, "tiny/store");
  for (const file of ["fp8-rows.safetensors", "gguf/mixed.gguf"]) {
    const transformer = join(goldenFolder, "quantised", file);
    const options = { cacheFolder, transformer };
    const opened = await openComponents(store, modelById("zimage_turbo"), options);
    const round = roundComponents(opened, [store], asInUi, { cacheFolder });
    await expect(round, file).rejects.toThrow(
      /quantised already \(.*leave rounding as in training away/,
    );
  }
});

test("a row of zeros among the weights is refused by name, and nothing is left", async () => {
  const file = join(cacheFolder, "zeros.safetensors");
  const { transformer } = await openComponents("demo", modelById("zimage_turbo"));
  const values = new Map<string, { data: Float32Array<ArrayBuffer>; shape: readonly number[] }>();
  for (const [name, span] of transformer.weights) values.set(name, await copyOf(span));
  values.get("layers.1.attention.to_k.weight")!.data.fill(0, 96, 192);
  await writeSafetensors(file, values, {});
  const before = readdirSync(cacheFolder).filter((name) => name.startsWith("trained"));
  await expect(rounded(asInUi, file)).rejects.toThrow(
    /zeros\.safetensors .*layers\.1\.attention\.to_k\.weight has a row of zeros/,
  );
  const kept = readdirSync(cacheFolder).filter(
    (name) => name.startsWith("trained") && !name.endsWith(".lock"),
  );
  expect(before).toEqual(expect.arrayContaining(kept));
});

async function copyOf(span: WeightSpan) {
  const { data, shape } = await readF32(span);
  return { data: Float32Array.from(data), shape };
}

test("the same rounding is made once, another one beside it", async () => {
  const files = () => readdirSync(cacheFolder).filter((name) => name.endsWith(".safetensors"));
  await rounded(asInUi);
  const before = files();
  await rounded(asInUi);
  expect(files()).toEqual(before);
});
