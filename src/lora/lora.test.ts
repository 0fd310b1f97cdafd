import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { goldenFolder } from "../../test/golden.ts";
import type { WritableTensor } from "../weights/write-safetensors.ts";
import { writeSafetensors } from "../weights/write-safetensors.ts";
import { hashLora, readHeld } from "./content.ts";
import { describeLora } from "./describe.ts";
import { readLora } from "./file.ts";
import { readLoraInfo } from "./info.ts";
import { matchLora } from "./match.ts";
import { loadAdapter } from "./values.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-lora-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const matrix = (rows: number, columns: number, value = 1): WritableTensor => ({
  data: new Float32Array(rows * columns).fill(value),
  shape: [rows, columns],
});

const vector = (length: number, value = 1): WritableTensor => ({
  data: new Float32Array(length).fill(value),
  shape: [length],
});

async function lora(
  tensors: Record<string, WritableTensor>,
  metadata: Record<string, string> = { format: "pt" },
): Promise<string> {
  const path = join(folder, "lora.safetensors");
  await writeSafetensors(path, new Map(Object.entries(tensors)), metadata);
  return path;
}

const toQ = "diffusion_model.layers.0.attention.to_q";
const modules = new Map([
  ["layers.0.attention.to_q", { inDim: 48, outDim: 48, hasBias: false }],
  ["layers.0.attention.to_k", { inDim: 48, outDim: 48, hasBias: false }],
  ["layers.0.adaLN_modulation.0", { inDim: 32, outDim: 192, hasBias: true }],
  ["layers.0.attention_norm1", { inDim: null, outDim: 48, hasBias: false }],
]);

test("an ai-toolkit file is read with its ranks and scale 1", async () => {
  const file = await readLora(join(goldenFolder, "tiny/lora-mixed-ranks.safetensors"));
  const ranks = new Set([...file.modules.values()].map(({ delta }) => delta?.rank));
  expect([...ranks].toSorted()).toEqual([1, 2, 4, 8]);
  const held = await readHeld(file.file);
  expect(await hashLora(file.file, undefined)).toBe(await hashLora(file.file, held));
  expect(await hashLora(file.file, held)).toBe(
    "e24b39a41ae111c5a0e3a1ee14bab0e7e9b37e2c4fed55f63ca8aa36074a0c0e",
  );
  for (const { scale } of (await loadAdapter(file)).values()) expect(scale).toBe(1);
});

test("a stored alpha scales by alpha / rank", async () => {
  const path = await lora({
    [`${toQ}.lora_A.weight`]: matrix(4, 48),
    [`${toQ}.lora_B.weight`]: matrix(48, 4),
    [`${toQ}.alpha`]: { data: Float32Array.of(2), shape: [] },
  });
  const [module] = (await loadAdapter(await readLora(path))).values();
  // Folded into the matrices, as diffusers does.
  expect(module).toMatchObject({ scale: 1, delta: { loraA: { data: matrix(4, 48, 0.5).data } } });
});

// diffusers 0.42.1 folds the tensor into the matrices, PEFT 0.21.2 multiplies by the header's.
test("the header's alpha / r multiplies that of the tensors", async () => {
  const path = await lora(
    {
      [`${toQ}.lora_A.weight`]: matrix(2, 48),
      [`${toQ}.lora_B.weight`]: matrix(48, 2),
      [`${toQ}.alpha`]: { data: Float32Array.of(4), shape: [1] },
    },
    { lora_adapter_metadata: '{"transformer.r":2,"transformer.lora_alpha":8}' },
  );
  const [module] = (await loadAdapter(await readLora(path))).values();
  expect(module).toMatchObject({ scale: 4, delta: { loraA: { data: matrix(2, 48, 2).data } } });
});

test("a header whose rank is not the tensors' is refused", async () => {
  const path = await lora(
    { [`${toQ}.lora_A.weight`]: matrix(2, 48), [`${toQ}.lora_B.weight`]: matrix(48, 2) },
    { lora_adapter_metadata: '{"transformer.r":3}' },
  );
  await expect(readLora(path)).rejects.toThrow(/to_q has rank 2, and 3 in the configuration/);
});

test("thousands of unknown keys are counted, and their base is named", async () => {
  const tensors: Record<string, WritableTensor> = {};
  for (let i = 0; i < 3000; i++) {
    tensors[`diffusion_model.double_blocks.${i}.img_attn.qkv.lora_A.weight`] = matrix(1, 1);
    tensors[`diffusion_model.double_blocks.${i}.img_attn.qkv.lora_B.weight`] = matrix(1, 1);
  }
  await expect(readLora(await lora(tensors))).rejects.toThrow(
    /trained for FLUX.*double_blocks\.0\..*; and 5992 more\./,
  );
});

test("another format is named before its header is judged", async () => {
  const path = await lora(
    { "transformer.transformer_blocks.0.attn.to_q.lora_A.weight": matrix(2, 8) },
    { lora_adapter_metadata: '{"transformer.r":2,"transformer.rank_pattern":{".*attn":2}}' },
  );
  await expect(readLora(path)).rejects.toThrow(/trained for FLUX/);
});

describe("a file that can't act whole is refused with the reason", () => {
  const pair = { [`${toQ}.lora_A.weight`]: matrix(4, 48), [`${toQ}.lora_B.weight`]: matrix(48, 4) };
  const cases: [string, Record<string, WritableTensor>, RegExp][] = [
    ["no tensors", {}, /no LoRA tensors/],
    ["a checkpoint", { "layers.0.attention.to_q.weight": matrix(2, 2) }, /whole checkpoint/],
    ["SDXL", { "lora_unet_input_blocks_1_0.lora_down.weight": matrix(4, 8) }, /Stable Diffusion/],
    ["FLUX", { "lora_unet_double_blocks_0.lora_down.weight": matrix(4, 8) }, /FLUX/],
    ["half a LoHa", { [`${toQ}.hada_w1_a`]: matrix(48, 4) }, /to_q has no hada_w1_b/],
    [
      "a LoHa of two sizes",
      {
        [`${toQ}.hada_w1_a`]: matrix(48, 4),
        [`${toQ}.hada_w1_b`]: matrix(4, 48),
        [`${toQ}.hada_w2_a`]: matrix(40, 4),
        [`${toQ}.hada_w2_b`]: matrix(4, 48),
      },
      /factors of two sizes/,
    ],
    [
      "a DoRA by columns",
      { ...pair, [`${toQ}.dora_scale`]: matrix(1, 48) },
      /dora_scale of \[1,48\] and 48 rows/,
    ],
    ["a magnitude alone", { [`${toQ}.magnitude`]: matrix(48, 1) }, /magnitude and no matrices/],
    [
      "two networks at once",
      { ...pair, [`${toQ}.lokr_w1`]: matrix(4, 4) },
      /tensors of lora and of lokr/,
    ],
    [
      "a change beside a LoRA",
      { ...pair, [`${toQ}.diff`]: matrix(48, 48) },
      /tensors of lora and of diff/,
    ],
    [
      "a change with a magnitude",
      { [`${toQ}.diff`]: matrix(48, 48), [`${toQ}.dora_scale`]: matrix(48, 1) },
      /to_q has both diff and dora_scale/,
    ],
    [
      "a change of another width",
      { [`${toQ}.diff`]: matrix(48, 40) },
      /to_q is 40 to 48 wide here and 48 to 48 in the model/,
    ],
    [
      "a norm's change for a matrix",
      { [`${toQ}.diff`]: vector(48) },
      /to_q is 48 wide here and 48 to 48 in the model/,
    ],
    [
      "a LoRA of a norm",
      {
        "diffusion_model.layers.0.attention_norm1.lora_A.weight": matrix(4, 48),
        "diffusion_model.layers.0.attention_norm1.lora_B.weight": matrix(48, 4),
      },
      /attention_norm1 is 48 to 48 wide here and 48 in the model/,
    ],
    [
      "a bias where the model has none",
      { ...pair, [`${toQ}.diff_b`]: vector(48) },
      /to_q has a diff_b here and no bias in the model/,
    ],
    [
      "a bias of another width",
      { "diffusion_model.layers.0.adaLN_modulation.0.diff_b": vector(100) },
      /adaLN_modulation\.0 is 100 wide here and 32 to 192 in the model/,
    ],
    [
      "a bias beside a change of another width",
      { [`${toQ}.diff`]: matrix(48, 48), [`${toQ}.diff_b`]: vector(4) },
      /to_q has a diff_b of \[4\] and 48 rows/,
    ],
    [
      "a change of three dimensions",
      { [`${toQ}.diff`]: { data: new Float32Array(48 * 48), shape: [48, 48, 1] } },
      /diff of \[48,48,1\], which is not a matrix/,
    ],
    [
      "changes that are all zero",
      { [`${toQ}.diff`]: matrix(48, 48, 0), "layers.0.adaLN_modulation.0.diff_b": vector(192, 0) },
      /values are all zero/,
    ],
    [
      "a change that is NaN",
      { "diffusion_model.layers.0.attention_norm1.diff": vector(48, Number.NaN) },
      /attention_norm1\.diff is NaN/,
    ],
    ["text encoder", { ...pair, "lora_te_text.lora_A.weight": matrix(1, 1) }, /text encoder/],
    [
      "transposed",
      { [`${toQ}.lora_A.weight`]: matrix(40, 4), [`${toQ}.lora_B.weight`]: matrix(4, 48) },
      /rank 40 .* and 48 .*: its matrices are transposed/,
    ],
    [
      "transposed and square",
      { [`${toQ}.lora_A.weight`]: matrix(48, 4), [`${toQ}.lora_B.weight`]: matrix(4, 48) },
      /4 to 4 wide here and 48 to 48 in the model: its matrices are transposed/,
    ],
    [
      "a module twice",
      { ...pair, "lora_unet_layers_0_attention_to_q.lora_down.weight": matrix(4, 48) },
      /to_q has its lora_A twice, as diffusion_model\..* and as lora_unet_/,
    ],
    [
      "nothing but zeros",
      { ...pair, [`${toQ}.lora_B.weight`]: matrix(48, 4, 0) },
      /values are all zero.*use a later save/,
    ],
    [
      "PEFT's weights alone",
      {
        "base_model.model.layers.0.attention.to_q.lora_A.weight": matrix(4, 48),
        "base_model.model.layers.0.attention.to_q.lora_B.weight": matrix(48, 4),
      },
      /as PEFT saves it, with its alpha in adapter_config\.json, which is not beside it/,
    ],
    [
      "two kinds of fault",
      {
        [`${toQ}.lora_A.weight`]: matrix(4, 48),
        "lora_unet_layers_0_attention_to_q.lora_down.weight": matrix(4, 48),
        bogus: matrix(1, 1),
      },
      /match nothing: bogus\. Also wrong: .*to_q has its lora_A twice/,
    ],
    ["an alpha of 0", { ...pair, [`${toQ}.alpha`]: matrix(1, 1, 0) }, /alpha is 0, and/],
    ["a negative alpha", { ...pair, [`${toQ}.alpha`]: matrix(1, 1, -1) }, /alpha is -1, and/],
    [
      "a name without end",
      { ...pair, [`diffusion_model.${"x".repeat(1e6)}`]: matrix(1, 1) },
      /match nothing: diffusion_model\.x{184}…\.$/,
    ],
    ["half a LoKr", { [`${toQ}.lokr_w1`]: matrix(4, 4) }, /to_q has no lokr_w2_a/],
    [
      "a LoKr of another base",
      { [`${toQ}.lokr_w1`]: matrix(4, 4), [`${toQ}.lokr_w2`]: matrix(16, 16) },
      /64 to 64 wide here and 48 to 48/,
    ],
    ["no lora_B", { [`${toQ}.lora_A.weight`]: matrix(4, 48) }, /to_q has no lora_B/],
    ["two ranks", { ...pair, [`${toQ}.lora_B.weight`]: matrix(48, 3) }, /rank 4 .* and 3/],
    [
      "rank 0",
      { [`${toQ}.lora_A.weight`]: matrix(0, 48), [`${toQ}.lora_B.weight`]: matrix(48, 0) },
      /rank 0/,
    ],
    [
      "an alpha of no value",
      { ...pair, [`${toQ}.alpha`]: matrix(0, 1) },
      /alpha of \[0,1\], which is not one number/,
    ],
    [
      "an alpha of another kind",
      { ...pair, [`${toQ}.alpha`]: { data: BigInt64Array.of(4n), shape: [] } },
      /its alpha in I64; F32, F16 and BF16/,
    ],
    [
      "an infinite alpha",
      { ...pair, [`${toQ}.alpha`]: matrix(1, 1, Number.POSITIVE_INFINITY) },
      /alpha is Infinity/,
    ],
    [
      "a stray key",
      { ...pair, "diffusion_model.layers.0.bogus": matrix(1, 1) },
      /match nothing: diffusion_model\.layers\.0\.bogus/,
    ],
    ["NaN", { ...pair, [`${toQ}.lora_B.weight`]: matrix(48, 4, Number.NaN) }, /lora_B is NaN/],
    [
      "another base",
      { [`${toQ}.lora_A.weight`]: matrix(4, 64), [`${toQ}.lora_B.weight`]: matrix(48, 4) },
      /64 to 48 wide here and 48 to 48/,
    ],
    [
      "an unknown module",
      {
        "diffusion_model.layers.0.attention.to_w.lora_A.weight": matrix(4, 48),
        "diffusion_model.layers.0.attention.to_w.lora_B.weight": matrix(48, 4),
      },
      /to_w\.lora_A\.weight \(the nearest name is layers\.0\.attention\.to_[qk]\)/,
    ],
    [
      "a layer that the model lacks",
      {
        "diffusion_model.layers.9.attention.to_q.lora_A.weight": matrix(4, 48),
        "diffusion_model.layers.9.attention.to_q.lora_B.weight": matrix(48, 4),
      },
      /layers\.9\.attention\.to_q is not in the model \(the nearest name is layers\.0\.attention\.to_q\)/,
    ],
  ];
  test.each(cases)("%s", async (_, tensors, reason) => {
    const path = await lora(tensors);
    const use = async () => {
      const file = await readLora(path);
      matchLora(file, modules);
      await loadAdapter(file);
    };
    await expect(use()).rejects.toThrow(reason);
    await expect(use()).rejects.toThrow(path);
  });
});

test("metadata tells trainer, step and trigger words; garbled entries count as absent", () => {
  expect(
    readLoraInfo({
      software: '{"name":"ai-toolkit","version":"0.10.25"}',
      training_info: '{"step":2000,"epoch":3}',
      ss_tag_frequency: '{"1_x":{"ohwx":1}}',
      ss_base_model_version: "zimage",
    }),
  ).toMatchObject({
    trainer: "ai-toolkit",
    trainerVersion: "0.10.25",
    step: 2000,
    triggerWords: ["ohwx"],
  });
  const tags = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`tag ${i}`, i]));
  const { triggerWords } = readLoraInfo({
    "modelspec.trigger_phrase": "sks",
    ss_tag_frequency: JSON.stringify({ a: tags, b: { "tag 3": 100, odd: "many" }, c: ["x"] }),
  });
  expect(triggerWords).toHaveLength(8);
  expect(triggerWords.slice(0, 3)).toEqual(["sks", "tag 3", "tag 49"]);
  expect(readLoraInfo({ software: "{", training_info: "[]" })).toMatchObject({
    trainer: null,
    step: null,
  });
});

// Of constant factors the change is constant too: its norm is that value times the square root of 48 x 48.
test.each<[string, Record<string, WritableTensor>, number]>([
  [
    "LoRA, with alpha 2 of rank 4",
    {
      [`${toQ}.lora_A.weight`]: matrix(4, 48, 0.5),
      [`${toQ}.lora_B.weight`]: matrix(48, 4),
      [`${toQ}.alpha`]: { data: Float32Array.of(2), shape: [] },
    },
    4 * 0.5 * 0.5 * 48,
  ],
  [
    "LoKr",
    { [`${toQ}.lokr_w1`]: matrix(4, 4, 0.5), [`${toQ}.lokr_w2`]: matrix(12, 12, 3) },
    0.5 * 3 * 48,
  ],
  [
    "LoHa",
    {
      [`${toQ}.hada_w1_a`]: matrix(48, 2, 0.5),
      [`${toQ}.hada_w1_b`]: matrix(2, 48),
      [`${toQ}.hada_w2_a`]: matrix(48, 2),
      [`${toQ}.hada_w2_b`]: matrix(2, 48, 3),
    },
    2 * 0.5 * 2 * 3 * 48,
  ],
])("the strength of a %s is the size of its change", async (_, tensors, norm) => {
  const { strength } = await describeLora(await lora(tensors));
  expect(strength["layers.0.attention.to_q"]).toBeCloseTo(norm, 2);
});

describe("a fused LoKr's strength is that of each part's own rows", () => {
  // w1 [3, 1] and w2 [48, 48] make rows of which q, k and v each have those of one row of w1.
  const w1 = { data: Float32Array.of(1, 2, 4), shape: [3, 1] };
  const third = 48 * 0.5;
  test.each<[string, Record<string, WritableTensor>]>([
    ["whole", { lokr_w1: w1, lokr_w2: matrix(48, 48, 0.5) }],
    [
      "with a second factor of low rank",
      { lokr_w1: w1, lokr_w2_a: matrix(48, 2, 0.25), lokr_w2_b: matrix(2, 48) },
    ],
  ])("%s", async (_, parts) => {
    const qkv = "diffusion_model.layers.0.attention.qkv";
    const tensors = Object.fromEntries(
      Object.entries(parts).map(([part, tensor]) => [`${qkv}.${part}`, tensor]),
    );
    const alpha = { [`${qkv}.alpha`]: { data: Float32Array.of(2), shape: [] } };
    const { strength } = await describeLora(await lora({ ...tensors, ...alpha }));
    expect(strength).toEqual({
      "layers.0.attention.to_q": third,
      "layers.0.attention.to_k": 2 * third,
      "layers.0.attention.to_v": 4 * third,
    });
  });
});

describe("a few bytes that stand for more than any memory are refused", () => {
  const vast = 2 ** 20;
  test.each<[string, Record<string, WritableTensor>, RegExp]>([
    [
      "a LoHa of columns and rows",
      {
        hada_w1_a: matrix(vast, 1),
        hada_w1_b: matrix(1, vast),
        hada_w2_a: matrix(vast, 1),
        hada_w2_b: matrix(1, vast),
      },
      /to_q changes a matrix of \[1048576,1048576\], larger than any of a model here/,
    ],
    [
      "a LoKr's factors",
      { lokr_w1: matrix(vast, 1), lokr_w2: matrix(1, vast) },
      /to_q changes a matrix of/,
    ],
    [
      "a rank",
      { "lora_A.weight": matrix(vast, 1), "lora_B.weight": matrix(1, vast) },
      /to_q has rank 1048576, and 8192 is the most/,
    ],
  ])("%s", async (_, parts, reason) => {
    const tensors = Object.entries(parts).map(([part, tensor]) => [`${toQ}.${part}`, tensor]);
    await expect(describeLora(await lora(Object.fromEntries(tensors)))).rejects.toThrow(reason);
  });
});

test("a LoHa of many rows is measured part by part", async () => {
  // 2^24 values at once: three parts, the last one shorter.
  const [rows, columns] = [10_000, 4000];
  const { strength } = await describeLora(
    await lora({
      [`${toQ}.hada_w1_a`]: matrix(rows, 1, 0.5),
      [`${toQ}.hada_w1_b`]: matrix(1, columns),
      [`${toQ}.hada_w2_a`]: matrix(rows, 1),
      [`${toQ}.hada_w2_b`]: matrix(1, columns, 3),
    }),
  );
  const norm = 1.5 * Math.sqrt(rows * columns);
  expect(strength["layers.0.attention.to_q"]! / norm).toBeCloseTo(1, 4);
});

const norm1 = "diffusion_model.layers.0.attention_norm1";
const modulation = "diffusion_model.layers.0.adaLN_modulation.0";

test("whole changes of weights, norms and biases are described as what they are", async () => {
  const path = await lora({
    [`${toQ}.lora_A.weight`]: matrix(4, 48),
    [`${toQ}.lora_B.weight`]: matrix(48, 4),
    [`${modulation}.diff_b`]: vector(192, 0.5),
    [`${norm1}.diff`]: vector(48, 2),
    "diffusion_model.layers.0.feed_forward.w1.diff": matrix(100, 48, 0.25),
    "diffusion_model.norm_final.diff": vector(48),
  });
  const { network, strength, rank, groups, notes, unusable } = await describeLora(path);
  expect(network).toBe("LoRA, biases, full weights, norms");
  expect(rank).toEqual([4]);
  expect(unusable).toBeNull();
  expect(strength["layers.0.adaLN_modulation.0"]).toBeCloseTo(0.5 * Math.sqrt(192), 3);
  expect(strength["layers.0.attention_norm1"]).toBeCloseTo(2 * Math.sqrt(48), 3);
  expect(strength["layers.0.feed_forward.w1"]).toBeCloseTo(0.25 * Math.sqrt(4800), 3);
  expect(groups.find(({ group }) => group.endsWith("attention_norm1"))).toMatchObject({
    rank: [],
    alpha: [],
    scale: [],
    dtype: ["F32"],
  });
  expect(notes).toEqual([
    "diffusion_model.norm_final.diff does not act: the network has no use for that norm",
  ]);
});

test("an alpha beside a whole change does not act, and that is said", async () => {
  const file = await readLora(
    await lora({
      [`${toQ}.diff`]: matrix(48, 48),
      [`${toQ}.alpha`]: { data: Float32Array.of(4), shape: [] },
    }),
  );
  const [module] = (await loadAdapter(file)).values();
  expect(module).toMatchObject({ scale: 1, alpha: null, delta: { kind: "full" } });
  expect(file.notes).toEqual([
    "an alpha does not act on a whole change (.diff), as at layers.0.attention.to_q",
  ]);
});

test("ai-toolkit's full rank network, a lora_A without any lora_B, is whole changes", async () => {
  const software = { software: '{"name":"ai-toolkit","version":"0.12.26"}' };
  const whole = { [`${toQ}.lora_A.weight`]: matrix(48, 48, 0.5) };
  const file = await readLora(await lora(whole, software));
  expect(file.modules.get("layers.0.attention.to_q")).toMatchObject({
    inDim: 48,
    outDim: 48,
    delta: { kind: "full" },
  });
  // Of another trainer, or beside a whole pair, it is half a LoRA.
  await expect(readLora(await lora(whole))).rejects.toThrow(/to_q has no lora_B/);
  const mixed = {
    ...whole,
    "diffusion_model.layers.0.attention.to_k.lora_A.weight": matrix(4, 48),
    "diffusion_model.layers.0.attention.to_k.lora_B.weight": matrix(48, 4),
  };
  await expect(readLora(await lora(mixed, software))).rejects.toThrow(/to_q has no lora_B/);
});

test.each([
  ["diffusion_model.layers.1.attention.q_norm.diff", "layers.1.attention.norm_q"],
  ["lycoris_layers_1_attention_k_norm.w_norm", "layers.1.attention.norm_k"],
  ["lora_unet_cap_embedder_0.diff", "cap_embedder.0"],
  ["lycoris_context_refiner_0_ffn_norm2.diff", "context_refiner.0.ffn_norm2"],
])("%s is a norm's change", async (key, module) => {
  const { modules: found } = await readLora(await lora({ [key]: vector(48) }));
  expect([...found.keys()]).toEqual([module]);
});
