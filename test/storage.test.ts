import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CanceledError } from "../src/errors.ts";
import { modelById } from "../src/models/registry.ts";
import type { WeightSpan } from "../src/onnx/graph.ts";
import type { Components } from "../src/pipeline/components.ts";
import { openComponents } from "../src/pipeline/components.ts";
import { fingerprintWeights } from "../src/pipeline/fingerprint.ts";
import { holdWeights } from "../src/pipeline/hold-weights.ts";
import type { HeldStorage, StorageDevice } from "../src/pipeline/weight-forms.ts";
import { isLarge, reads } from "../src/pipeline/weight-forms.ts";
import { readF32, readSafetensors } from "../src/weights/safetensors.ts";
import { goldenFolder } from "./golden.ts";
import type { RawTensor } from "./tensor-file.ts";
import { rawTensor, writeTensorFile } from "./tensor-file.ts";

// What is made of each kind of file, weight by weight. That casts are PyTorch's to the bit is held
// in src/weights/convert.test.ts, that the networks compute with them in the golden suites.

const turbo = modelById("zimage_turbo");
const tiny = join(goldenFolder, "tiny/store");
const quantised = join(goldenFolder, "quantised");
const cpu: StorageDevice = { device: "cpu", memoryBytes: null, hasF16: true, maxBufferBytes: null };
const webgpu: StorageDevice = { ...cpu, device: "webgpu", hasF16: true };
const withoutF16: StorageDevice = { ...webgpu, hasF16: false };

let folder: string;
let sources: Record<string, () => Promise<Components>>;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-storage-"));
  const { tensors } = await readSafetensors(
    join(tiny, "Tongyi-MAI/Z-Image-Turbo/transformer/diffusion_pytorch_model.safetensors"),
  );
  const halves = new Map(
    await Promise.all(
      [...tensors].map(async ([name, span]): Promise<[string, RawTensor]> => {
        const { data, shape } = await readF32(span);
        const bytes = new Uint8Array(new Float16Array(data).buffer);
        return [name, { dtype: "F16", shape, bytes }];
      }),
    ),
  );
  writeTensorFile(join(folder, "f16.safetensors"), halves);
  const file = (transformer: string) => () => open(tiny, transformer);
  sources = {
    f32: () => open(tiny),
    "bf16, in shards": () => open("demo"),
    f16: file(join(folder, "f16.safetensors")),
    fp8: file(join(quantised, "fp8-cast.safetensors")),
    "fp8, a scale a row": file(join(quantised, "fp8-rows.safetensors")),
    "fp8, a scale a matrix": file(join(quantised, "fp8-scaled.safetensors")),
    gguf: file(join(quantised, "gguf/mixed.gguf")),
  };
});
afterAll(() => rmSync(folder, { recursive: true }));

function open(weights: string, transformer?: string): Promise<Components> {
  const cacheFolder = join(folder, "gguf");
  return openComponents(weights, turbo, {
    cacheFolder,
    ...(transformer === undefined ? {} : { transformer }),
  });
}

function hold(
  components: Components,
  storage: HeldStorage,
  device: StorageDevice,
): Promise<Components> {
  return holdWeights(components, storage, device, { cacheFolder: join(folder, "cache") });
}

const kinds = [
  "f32",
  "bf16, in shards",
  "f16",
  "fp8",
  "fp8, a scale a row",
  "fp8, a scale a matrix",
] as const;

/** The numbers that are stored, without their scale. */
async function stored(span: WeightSpan): Promise<Float32Array> {
  if (!span.dtype.startsWith("F8")) return (await readF32(span)).data;
  const bytes = Uint8Array.from(rawTensor(span).bytes);
  // e5m2 is an f16's upper half; e4m3 has a bit less of exponent, which is 8 higher.
  if (span.dtype === "F8_E5M2")
    return Float32Array.from(new Float16Array(Uint16Array.from(bytes, (code) => code << 8).buffer));
  const words = Uint16Array.from(bytes, (code) => ((code & 0x80) << 8) | ((code & 0x7f) << 7));
  return Float32Array.from(new Float16Array(words.buffer), (value) => value * 256);
}

test.each(kinds.flatMap((kind) => (["f16", "f32"] as const).map((to) => [kind, to] as const)))(
  "a file in %s as %s: large matrices are rounded as f16 rounds, what is small stays exact",
  async (kind, storage) => {
    const from = (await sources[kind]!()).transformer;
    const { transformer, held } = await hold(await sources[kind]!(), storage, cpu);
    let rounded = 0;
    for (const [name, span] of from.weights) {
      const mine = transformer.weights.get(name)!;
      const large = storage === "f16" && isLarge(name, span);
      expect(mine.dtype, name).toBe(large ? "F16" : "F32");
      expect(mine.scale, name).toEqual(span.scale);
      expect(mine.shape, name).toEqual(span.shape);
      const before = await stored(span);
      const expected = large ? before.map(Math.f16round) : before;
      expect((await readF32(mine)).data, name).toEqual(expected);
      rounded += before.filter((value, i) => value !== expected[i]).length;
    }
    expect(held).toEqual({ storage, rounded });
    expect(transformer.lookup("x_pad_token").dtype).toBe("F32");
  },
);

test("large are the blocks' matrices: no norm, no bias, no embedder, no pad token, not the last layer", async () => {
  const { weights } = (await open(tiny)).transformer;
  const large = [...weights].filter(([name, span]) => isLarge(name, span)).map(([name]) => name);
  for (const name of large) {
    expect(name).toMatch(
      /^(layers|noise_refiner|context_refiner)\.\d\.(attention\.(to_[qkv]|to_out\.0)|feed_forward\.w[123]|adaLN_modulation\.0)\.weight$/,
    );
  }
  expect(large).toHaveLength(4 * 7 + 3);
});

test("a device without bf16 gets nothing that it can't read, of any file in any storage", async () => {
  for (const [kind, source] of Object.entries(sources)) {
    for (const device of [webgpu, withoutF16]) {
      for (const storage of ["original", "f32", "f16", "int8"] as const) {
        if (storage === "f16" && device === withoutF16) continue;
        const { transformer, vae } = await hold(await source(), storage, device);
        for (const part of [transformer, vae]) {
          const used = [...part.weights].filter(
            ([name]) => part === transformer || /^(decoder|post_quant_conv)\./.test(name),
          );
          for (const [name, { dtype, scale, blocks }] of used) {
            const dtypes = [dtype, scale?.dtype, blocks?.scales.dtype, blocks?.offsets?.dtype];
            for (const found of dtypes)
              expect(found === undefined || reads(device, found), `${kind} ${name}`).toBe(true);
          }
        }
      }
    }
  }
});

test("a GGUF file's blocks stay where they are", async () => {
  const gguf = (await sources.gguf!()).transformer.weights;
  const { transformer } = await hold(await sources.gguf!(), "original", webgpu);
  const inBlocks = [...gguf].filter(([, { blocks }]) => blocks !== undefined);
  expect(inBlocks.length).toBeGreaterThan(10);
  for (const [name, span] of inBlocks) expect(transformer.weights.get(name)).toEqual(span);
});

test("what can be used as it lies is not copied", async () => {
  const own = join(folder, "untouched");
  for (const [kind, storage] of [
    ["f32", "f32"],
    ["f32", "original"],
    ["bf16, in shards", "original"],
    ["gguf", "original"],
  ] as const) {
    const components = await sources[kind]!();
    const { transformer, vae } = await holdWeights(components, storage, cpu, { cacheFolder: own });
    expect(transformer.weights).toEqual(components.transformer.weights);
    expect(vae).toEqual(components.vae);
  }
  expect(() => readdirSync(own)).toThrow("ENOENT");
});

test("the fingerprint tells of f16 only where it rounded", async () => {
  const suffixes = [];
  for (const [kind, storage] of [
    ["f32", "f16"],
    ["f16", "f16"],
    ["fp8", "f16"],
    ["f32", "f32"],
    ["f32", "int8"],
  ] as const) {
    const plain = (await fingerprintWeights(await sources[kind]!())).transformer;
    const held = await fingerprintWeights(await hold(await sources[kind]!(), storage, cpu));
    expect(held.transformer.startsWith(plain)).toBe(true);
    suffixes.push(held.transformer.slice(plain.length));
  }
  expect(suffixes).toEqual(["+f16", "", "", "", "+int8"]);
});

/** The tiny transformer with one number exchanged. */
async function withNumber(name: string, value: number): Promise<Components> {
  const { tensors } = await readSafetensors(
    join(tiny, "Tongyi-MAI/Z-Image-Turbo/transformer/diffusion_pytorch_model.safetensors"),
  );
  const changed = new Map([...tensors].map(([tensor, span]) => [tensor, rawTensor(span)]));
  const bytes = Uint8Array.from(changed.get(name)!.bytes);
  new DataView(bytes.buffer).setFloat32(28, value, true);
  changed.set(name, { ...changed.get(name)!, bytes });
  const file = join(folder, "changed.safetensors");
  writeTensorFile(file, changed);
  return open(tiny, file);
}

test("what f16 can't hold, and what is no number, is refused by name; nothing is left", async () => {
  const own = join(folder, "refused");
  const matrix = "layers.1.feed_forward.w2.weight";
  const large = holdWeights(await withNumber(matrix, -70_000), "f16", cpu, { cacheFolder: own });
  await expect(large).rejects.toThrow(
    `tensor ${matrix} holds -70000, and f16 ends at 65504. Ask for --storage f32 or int8`,
  );
  for (const [name, storage] of [
    [matrix, "f16"],
    [matrix, "int8"],
    ["layers.0.ffn_norm1.weight", "int8"],
  ] as const) {
    const components = await withNumber(name, Number.NaN);
    const device = storage === "int8" ? webgpu : cpu;
    const broken = holdWeights(components, storage, device, { cacheFolder: own });
    if (name === matrix) {
      await expect(broken).rejects.toThrow(/changed\.safetensors is damaged: tensor .*w2.* NaN/);
      expect(readdirSync(own).filter((file) => file.startsWith("cast"))).toEqual([]);
    } else await broken;
  }
  // f32 holds it.
  const wide = await hold(await withNumber(matrix, -70_000), "f32", cpu);
  expect((await readF32(wide.transformer.weights.get(matrix)!)).data[7]).toBe(-70_000);
});

test("a cancel ends it at the next piece, and leaves nothing", async () => {
  for (const storage of ["f16", "int8"] as const) {
    const own = join(folder, `canceled-${storage}`);
    const stop = new AbortController();
    const held = holdWeights(await open("demo"), storage, cpu, {
      cacheFolder: own,
      signal: stop.signal,
      onStart: () => void stop.abort(),
    });
    await expect(held).rejects.toThrow(CanceledError);
    expect(readdirSync(own)).toEqual([]);
  }
});
