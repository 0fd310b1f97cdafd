import type { Rounding, RoundingMethod, TrainDtype } from "../job/rounding.ts";
import { roundingMethods } from "../job/rounding.ts";
import { isOlder } from "./eras.ts";
import { modelById } from "./registry.ts";

/** The trainer's names: `get_torch_dtype` in its `toolkit/train_tools.py`. */
const dtypes: Readonly<Record<string, TrainDtype>> = {
  bf16: "bf16",
  bfloat16: "bf16",
  fp16: "f16",
  half: "f16",
  float16: "f16",
  fp32: "f32",
  float: "f32",
  single: "f32",
  float32: "f32",
};

/** What of a training job's configuration decides how its weights were rounded, as the trainer reads it. */
export interface TrainedAs {
  readonly model: string;
  /** Of ai-toolkit; null: the newest. */
  readonly trainerVersion: string | null;
  /** `train.dtype`: `bf16`, `float32`, … */
  readonly trainDtype: string;
  readonly quantize: boolean;
  /** The trainer's default is `quantize`'s value. */
  readonly quantizeTe: boolean;
  readonly qtype: string;
  readonly qtypeTe: string;
  /** Turns `qfloat8` into `float8`. */
  readonly layerOffloading: boolean;
  /** `model.assistant_lora_path`: a file's path, or `owner/name/file.safetensors`. */
  readonly assistantLoraPath: string | null;
  /** The absolute path of a file to take in its place. */
  readonly adapterFile: string | null;
  /** `model.accuracy_recovery_adapter`, which may stand behind `qtype` too. */
  readonly accuracyRecoveryAdapter: string | null;
}

/**
 * How a training rounded the weights that its previews were drawn with. Read from ai-toolkit's
 * `toolkit/util/quantize.py`, `toolkit/config_modules.py` and its Z-Image model, 4e62c38d to
 * 27a03a91.
 *
 * @returns null for a training in float32 without quantisation, which nothing rounds; why it is
 *   unknown, where it is
 */
export function roundingFor(trained: TrainedAs): Rounding | null | { readonly unknown: string } {
  const { quantize, quantizeTe, trainDtype } = trained;
  const dtype = Object.hasOwn(dtypes, trainDtype) ? dtypes[trainDtype]! : null;
  if (dtype === null) return { unknown: `what ${trainDtype} rounds is not copied` };
  if (!quantize && !quantizeTe && dtype === "f32") return null;
  const transformer = quantize ? methodOf(trained, "transformer") : null;
  if (typeof transformer === "object" && transformer !== null) return transformer;
  const textEncoder = quantizeTe ? methodOf(trained, "textEncoder") : null;
  if (typeof textEncoder === "object" && textEncoder !== null) return textEncoder;
  // The previews of unquantised jobs come as near without it.
  const path = transformer === null ? null : trained.assistantLoraPath;
  const adapter = path === null ? null : (trained.adapterFile ?? adapterName(trained.model, path));
  if (typeof adapter === "object" && adapter !== null) return adapter;
  return {
    transformer,
    textEncoder,
    embedders: transformer !== null && roundsEmbedders(trained.trainerVersion, transformer),
    adapter,
    dtype,
  };
}

/**
 * How ai-toolkit's page sets a job up: transformer and text encoder in `qfloat8`, Turbo with its
 * training adapter.
 */
export function usualRounding(
  model: string,
  trainerVersion: string | null,
  adapter: string | null = null,
): Rounding {
  const { trainingAdapter } = modelById(model);
  const method = trainingAdapter === null && adapter === null ? "quanto" : "torchao";
  const isFirst = trainerVersion !== null && isOlder(trainerVersion, "0.7.7") === true;
  const file = trainingAdapter?.files.at(isFirst ? 0 : -1);
  return {
    transformer: method,
    textEncoder: "quanto",
    embedders: roundsEmbedders(trainerVersion, method),
    adapter: adapter ?? (trainingAdapter === null ? null : `${trainingAdapter.repository}/${file}`),
    dtype: "bf16",
  };
}

function methodOf(
  { qtype, qtypeTe, layerOffloading, assistantLoraPath, accuracyRecoveryAdapter }: TrainedAs,
  part: "transformer" | "textEncoder",
): RoundingMethod | null | { readonly unknown: string } {
  const [key, value] = part === "transformer" ? ["qtype", qtype] : ["qtype_te", qtypeTe];
  if (part === "transformer" && (accuracyRecoveryAdapter !== null || qtype.includes("|"))) {
    return { unknown: "an accuracy recovery adapter was trained beside, which is not copied" };
  }
  // Beside a training adapter, and with offloaded layers, the trainer takes its other float8.
  const isOther = layerOffloading || (part === "transformer" && assistantLoraPath !== null);
  if (value === "float8" || (value === "qfloat8" && isOther)) return "torchao";
  if (value === "qfloat8" || value === "qfloat8_e4m3fn") return "quanto";
  // Its packing takes up to 7 bits, so the trainer leaves every layer as it is.
  if (value === "uint8") return null;
  const named = roundingMethods.find((method) => method === value && /^uint/.test(value));
  return (
    named ?? { unknown: `${key} ${value} is not copied: qfloat8, float8 and uint2 to uint7 are` }
  );
}

/**
 * Until 28f2c0ac (0.10.24) all matrices were rounded; torchao's types reached the excluded ones too
 * until e28727d5, hours before 0.10.25. In 0.10.24 itself the longer part counts.
 */
function roundsEmbedders(version: string | null, method: RoundingMethod): boolean {
  return version !== null && isOlder(version, method === "quanto" ? "0.10.24" : "0.10.25") === true;
}

/** A hub's name stays; of a path only the file's name counts: it was another machine's. */
export function adapterName(model: string, path: string): string | { readonly unknown: string } {
  if (/^\w[\w.-]*\/\w[\w.-]*\/\w[\w.-]*\.safetensors$/.test(path)) return path;
  const file = path.split(/[/\\]/).at(-1)!;
  const { trainingAdapter } = modelById(model);
  if (trainingAdapter?.files.includes(file) === true)
    return `${trainingAdapter.repository}/${file}`;
  return {
    unknown: `its training adapter ${file} was a file of the machine that trained it (on the command line, --training-adapter names one)`,
  };
}
