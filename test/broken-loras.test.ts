import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startRetake } from "./retake-process.ts";
import type { RawTensor } from "./tensor-file.ts";
import { writeTensorFile } from "./tensor-file.ts";

// Broken files as people have them, through the command line: each gives one clear error, and no picture.
const zorple = fileURLToPath(new URL("../demo/loras/zorple.safetensors", import.meta.url));
let folder: string;
let file: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-broken-"));
  file = join(folder, "broken.safetensors");
});
afterAll(() => rmSync(folder, { recursive: true }));

const toQ = "diffusion_model.layers.0.attention.to_q";
const f32 = (shape: number[], value = 0.01): RawTensor => ({
  dtype: "F32",
  shape,
  bytes: new Uint8Array(
    new Float32Array(shape.reduce((size, dim) => size * dim, 1)).fill(value).buffer,
  ),
});
const a = () => f32([8, 96]);
const b = () => f32([96, 8]);
const pair = () => ({ [`${toQ}.lora_A.weight`]: a(), [`${toQ}.lora_B.weight`]: b() });
const fp8 = (shape: number[]): RawTensor => ({
  dtype: "F8_E4M3",
  shape,
  bytes: new Uint8Array(shape.reduce((size, dim) => size * dim, 1)).fill(0x38),
});
const write = (tensors: Record<string, RawTensor>) => () =>
  writeTensorFile(file, new Map(Object.entries(tensors)));

/** A header that names one key twice: no library writes it. */
function duplicated(): void {
  const entry = (name: string, start: number) =>
    `"${name}":{"dtype":"F32","shape":[8,96],"data_offsets":[${start},${start + 3072}]}`;
  const json = `{${entry(`${toQ}.lora_A.weight`, 0)},${entry(`${toQ}.lora_A.weight`, 3072)}}`;
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(file, Buffer.concat([length, Buffer.from(json), Buffer.alloc(6144)]));
}

const cases: [string, () => void, RegExp][] = [
  ["a missing pair", write({ [`${toQ}.lora_A.weight`]: a() }), /to_q has no lora_B/],
  [
    "ranks that differ",
    write({ ...pair(), [`${toQ}.lora_B.weight`]: f32([96, 4]) }),
    /to_q has rank 8 in lora_A \[8,96\] and 4 in lora_B \[96,4\]\./,
  ],
  [
    "transposed matrices",
    write({ [`${toQ}.lora_A.weight`]: f32([96, 8]), [`${toQ}.lora_B.weight`]: f32([8, 96]) }),
    /8 to 8 wide here and 96 to 96 in the model: its matrices are transposed/,
  ],
  [
    "SDXL",
    write({
      "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight": a(),
      "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_up.weight": b(),
    }),
    /trained for Stable Diffusion/,
  ],
  [
    "FLUX",
    write({
      "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": a(),
      "transformer.single_transformer_blocks.0.attn.to_q.lora_B.weight": b(),
    }),
    /trained for FLUX/,
  ],
  [
    "a truncated file",
    () => writeFileSync(file, readFileSync(zorple).subarray(0, 60_000)),
    /cut off: it has 60000 bytes/,
  ],
  [
    "NaN",
    write({ ...pair(), [`${toQ}.lora_B.weight`]: f32([96, 8], Number.NaN) }),
    /to_q\.lora_B is NaN at element 0\. Its training diverged/,
  ],
  ["a key twice in the header", duplicated, /its header names ".*to_q\.lora_A\.weight" twice/],
  [
    "a module under two names",
    write({ ...pair(), "lora_unet_layers_0_attention_to_q.lora_down.weight": a() }),
    /has its lora_A twice, as diffusion_model\..* and as lora_unet_/,
  ],
  [
    "fp8 without a scale",
    write({ [`${toQ}.lora_A.weight`]: fp8([8, 96]), [`${toQ}.lora_B.weight`]: fp8([96, 8]) }),
    /to_q has its lora_A in F8_E4M3 without a scale; F32, F16 and BF16 can be used/,
  ],
  [
    "a text encoder's LoRA",
    write({
      "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": a(),
      "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": b(),
    }),
    /holds text encoder weights, which nothing applies/,
  ],
  [
    "nothing but zeros",
    write({ ...pair(), [`${toQ}.lora_B.weight`]: f32([96, 8], 0) }),
    /its values are all zero\. It was saved before its training began/,
  ],
  [
    "an alpha that is a text's bytes",
    write({
      ...pair(),
      [`${toQ}.alpha`]: { dtype: "U8", shape: [2], bytes: new TextEncoder().encode("16") },
    }),
    /to_q has its alpha in U8; F32, F16 and BF16 can be used/,
  ],
  [
    "an alpha for each row",
    write({ ...pair(), [`${toQ}.alpha`]: f32([8]) }),
    /alpha of \[8\], which is not one number/,
  ],
  [
    "a pickle with another ending",
    () => writeFileSync(file, Buffer.from("\x80\x04\x95\x1f\0\0\0\0\0\0\0}\x94.", "latin1")),
    /a Python pickle, not a safetensors file/,
  ],
];

describe("one clear error, exit code 2, and nothing is left", () => {
  test.each(cases)("%s", async (_, make, reason) => {
    await make();
    const out = join(folder, "a.png");
    const small = ["--width", "64", "--height", "64", "--steps", "1"];
    const args = ["generate", "--prompt", "x", ...small, "--out", out, "--lora", file];
    const { code, stderr, stdout } = await startRetake(args, { cwd: folder }).ended;
    expect(stderr).toMatch(reason);
    expect({ code, stdout, lines: stderr.trim().split("\n").length }).toEqual({
      code: 2,
      stdout: "",
      lines: 1,
    });
    expect(stderr).toContain(file);
    expect(readdirSync(folder)).toEqual(["broken.safetensors"]);
  });
});
