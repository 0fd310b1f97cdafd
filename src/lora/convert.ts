import { existsSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { InputError } from "../errors.ts";
import { readExactly } from "../files/read.ts";
import { notWritable, writeFolderWhole, writeWhole } from "../files/whole.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import type { Dtype } from "../tensor/dtype.ts";
import { narrowTo } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { LoraDelta } from "../tensor/weight-delta.ts";
import type { WritableTensor } from "../weights/write-safetensors.ts";
import { writeSafetensors } from "../weights/write-safetensors.ts";
import type { LoraFile } from "./file.ts";
import { readLora } from "./file.ts";
import { networkOf } from "./format.ts";
import type { LoraModule, StoredDelta } from "./module.ts";
import { peftConfig, peftWeights } from "./places.ts";
import type { AdapterValues } from "./values.ts";
import { loadAdapter } from "./values.ts";

/** Formats that can be written. ComfyUI reads ai-toolkit's. */
export const targetFormats = ["ai-toolkit", "diffusers", "kohya", "peft"] as const;
export type TargetFormat = (typeof targetFormats)[number];

/**
 * Writes a LoRA in another format; the file that is read stays as it is. Matrices are copied byte for byte; where a
 * format has no place for alpha, alpha/rank is folded into them and rounded as
 * diffusers does when it loads the original, so that pictures stay the same.
 *
 * @param path a .safetensors file, or a folder that PEFT saved
 * @param target ComfyUI reads `ai-toolkit`
 * @param out a .safetensors file that doesn't exist, for `peft` a folder
 * @throws InputError if the LoRA can't be read, the format can't hold it, or `out` is there already
 *   or can't be written
 */
export async function convertLora(path: string, target: TargetFormat, out: string): Promise<void> {
  if (existsSync(out)) {
    throw new InputError(`${out} exists. Name a file that doesn't, or delete it first.`);
  }
  if (target !== "peft" && !out.endsWith(".safetensors")) {
    throw new InputError(`${out}: a LoRA is a .safetensors file. Change the ending.`);
  }
  const lora = await readLora(path);
  const tensors = new Map<string, WritableTensor>();
  // Checks every value on the way.
  const adapter = await loadAdapter(lora);
  for (const name of lora.modules.keys()) {
    for (const [key, tensor] of await tensorsOf(lora, name, target, adapter.get(name)!)) {
      tensors.set(key, tensor);
    }
  }
  const { lora_adapter_metadata: _, ...kept } = lora.metadata;
  const metadata = { format: "pt", ...kept, retake_converted_from: lora.format };
  if (target === "peft") await writePeftFolder(lora, tensors, metadata, adapter, out);
  else await writeSafetensors(out, tensors, metadata);
}

/** Where a format puts a module's tensors. */
function namesOf(target: TargetFormat, delta: LoraModule["delta"], module: string) {
  const flat = module.replaceAll(".", "_");
  if (target === "kohya") return `${delta?.kind === "lora" ? "lora_unet_" : "lycoris_"}${flat}`;
  return `${{ "ai-toolkit": "diffusion_model", diffusers: "transformer", peft: "base_model.model" }[target]}.${module}`;
}

async function tensorsOf(
  lora: LoraFile,
  name: string,
  target: TargetFormat,
  values: AdapterValues,
): Promise<Map<string, WritableTensor>> {
  const module = lora.modules.get(name)!;
  const { delta, biasDelta, magnitude, alpha, rows } = module;
  refuseImpossible(lora, module, target);
  const prefix = namesOf(target, delta, name);
  const tensors = new Map<string, WritableTensor>();
  const put = async (part: string, span: WeightSpan, cut: LoraModule["rows"] = null) =>
    tensors.set(`${prefix}.${part}`, await copy(span, cut));
  const scale = values.storedScale;
  const hasAlpha = target === "kohya" || target === "peft";
  if (delta?.kind === "full") await put("diff", delta.whole, rows);
  else if (delta?.kind === "lora" && values.delta?.kind === "lora") {
    const [down, up] = target === "kohya" ? ["lora_down", "lora_up"] : ["lora_A", "lora_B"];
    if (scale === 1 || hasAlpha) {
      await put(`${down}.weight`, delta.loraA);
      await put(`${up}.weight`, delta.loraB, rows);
    } else {
      const [loraA, loraB] = folded(delta, values.delta, values.scale);
      tensors.set(`${prefix}.${down}.weight`, loraA).set(`${prefix}.${up}.weight`, loraB);
    }
    if (delta.bias !== null) await put(`${up}.bias`, delta.bias, rows);
    if (target === "kohya") tensors.set(`${prefix}.alpha`, scalar(scale * delta.rank));
  } else if (delta?.kind === "lokr" || delta?.kind === "loha") {
    for (const [part, span] of factorsOf(delta)) await put(part, span);
    if (alpha !== null) await put("alpha", alpha);
  }
  if (biasDelta !== null) await put("diff_b", biasDelta, rows);
  if (magnitude !== null) {
    const part = {
      "ai-toolkit": "magnitude",
      peft: "lora_magnitude_vector",
      lycoris: "dora_scale",
    };
    const rule =
      magnitude.rule === "lycoris" ? "lycoris" : target === "ai-toolkit" ? target : "peft";
    await put(part[rule], magnitude.span, rows);
  }
  return tensors;
}

/** LoKr's and LoHa's tensors by the names that all trainers give them. */
function factorsOf(delta: Extract<StoredDelta, { kind: "lokr" | "loha" }>): [string, WeightSpan][] {
  if (delta.kind === "loha") {
    return [
      ["hada_w1_a", delta.w1a],
      ["hada_w1_b", delta.w1b],
      ["hada_w2_a", delta.w2a],
      ["hada_w2_b", delta.w2b],
    ];
  }
  const factor = (name: string, spans: readonly WeightSpan[]): [string, WeightSpan][] =>
    spans.length === 1
      ? [[name, spans[0]!]]
      : [
          [`${name}_a`, spans[0]!],
          [`${name}_b`, spans[1]!],
        ];
  return [...factor("lokr_w1", delta.w1), ...factor("lokr_w2", delta.w2)];
}

function refuseImpossible(
  { file, modules }: LoraFile,
  { delta, biasDelta, magnitude, rows, headerScale }: LoraModule,
  target: TargetFormat,
): void {
  const refuse = (what: string) => {
    throw new InputError(`${file} can't be converted to ${target}: ${what}.`);
  };
  const isPeft = target === "diffusers" || target === "peft";
  if (isPeft && (delta?.kind === "full" || biasDelta !== null)) {
    refuse(
      "it has whole changes of weights or biases (.diff, .diff_b), which neither PEFT nor diffusers loads",
    );
  }
  if (delta?.kind === "lokr" || delta?.kind === "loha") {
    if (isPeft) {
      refuse(`it is a ${networkOf(modules.values())}, and Retake writes LoRA and DoRA there`);
    }
    if (rows !== null) refuse("its factors stand for q, k and v together and can't be taken apart");
    if (headerScale !== 1)
      refuse("its scale is in a configuration that the format has no place for");
  }
  if (magnitude?.rule === "lycoris" && target !== "kohya") {
    refuse("its dora_scale follows LyCORIS's rule, which the format's magnitude does not");
  }
  if (magnitude !== null && magnitude.rule !== "lycoris" && target === "kohya") {
    refuse("its magnitude follows another rule than the format's dora_scale");
  }
  if (delta?.kind === "lora" && delta.bias !== null && !isPeft) {
    refuse("it has biases (lora_B.bias)");
  }
}

/**
 * The matrices with alpha/rank folded in, as the loader makes them, in the
 * file's dtype. The factor of a header's configuration, which no loader folds
 * or rounds, goes into B in f32.
 */
function folded(
  stored: Extract<StoredDelta, { kind: "lora" }>,
  { loraA, loraB }: LoraDelta,
  scale: number,
): [WritableTensor, WritableTensor] {
  const written = ({ shape }: Tensor, data: Float32Array<ArrayBuffer>, dtype: Dtype) => ({
    data: narrowTo(data, dtype),
    dtype,
    shape,
  });
  return [
    written(loraA, loraA.data, stored.loraA.dtype),
    scale === 1
      ? written(loraB, loraB.data, stored.loraB.dtype)
      : written(
          loraB,
          loraB.data.map((value) => value * scale),
          "F32",
        ),
  ];
}

async function copy(span: WeightSpan, rows: LoraModule["rows"]): Promise<WritableTensor> {
  const rowBytes = span.byteLength / (span.shape[0] ?? 1);
  const start = rows === null ? 0 : rows.start * rowBytes;
  const length = rows === null ? span.byteLength : rows.count * rowBytes;
  const data = new Uint8Array(length);
  const handle = await open(span.file, "r");
  try {
    await readExactly(handle, data, span.offset + start, span.file);
  } finally {
    await handle.close();
  }
  const shape = rows === null ? span.shape : [rows.count, ...span.shape.slice(1)];
  return { data, dtype: span.dtype, shape };
}

function scalar(value: number): WritableTensor {
  return { data: Float32Array.of(value), shape: [] };
}

async function writePeftFolder(
  lora: LoraFile,
  tensors: ReadonlyMap<string, WritableTensor>,
  metadata: Readonly<Record<string, string>>,
  adapter: ReadonlyMap<string, AdapterValues>,
  out: string,
): Promise<void> {
  const ranks = new Map([...lora.modules].map(([name, { delta }]) => [name, delta?.rank ?? 1]));
  const alphas = new Map(
    [...ranks].map(([name, rank]) => [name, rank * adapter.get(name)!.storedScale]),
  );
  const modules = [...lora.modules.values()];
  const config = {
    peft_type: "LORA",
    r: ranks.values().next().value,
    lora_alpha: alphas.values().next().value,
    // A ^ makes it the whole name: "to_q" would fit every layer's.
    rank_pattern: Object.fromEntries([...ranks].map(([name, rank]) => [`^${name}`, rank])),
    alpha_pattern: Object.fromEntries([...alphas].map(([name, alpha]) => [`^${name}`, alpha])),
    target_modules: [...lora.modules.keys()],
    lora_dropout: 0,
    bias: "none",
    use_rslora: false,
    use_dora: modules.some(({ magnitude }) => magnitude !== null),
    lora_bias: modules.some(({ delta }) => delta?.kind === "lora" && delta.bias !== null),
    fan_in_fan_out: false,
  };
  await writeFolderWhole(out, async (folder) => {
    const json = Buffer.from(`${JSON.stringify(config, null, 1)}\n`);
    await writeWhole(join(folder, peftConfig), [json]);
    await writeSafetensors(join(folder, peftWeights), tensors, metadata);
  }).catch((error: unknown) => {
    throw error instanceof InputError ? error : notWritable(out, error);
  });
}
