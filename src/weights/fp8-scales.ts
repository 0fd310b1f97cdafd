import { open } from "node:fs/promises";
import { InputError, listed } from "../errors.ts";
import type { WeightSpan } from "../onnx/graph.ts";

/** Names that ComfyUI's files give the scale of `X.weight`: older and newer. */
const scaleSuffixes = [".scale_weight", ".weight_scale"];
/** The scale of activations is for products in fp8; here activations are never rounded. */
const unreadSuffixes = [".scale_input", ".input_scale"];
/** Says that a file's fp8 matrices have scales. */
const marker = "scaled_fp8";
/** JSON in a U8 tensor that says how one layer is stored. */
const layerSuffix = ".comfy_quant";
const longestLayerNote = 4096;
const computedFormats = new Set(["float8_e4m3fn", "float8_e5m2"]);

export function isFp8({ dtype }: WeightSpan): boolean {
  return dtype === "F8_E4M3" || dtype === "F8_E5M2";
}

/**
 * Gives each fp8 matrix the scale that lies beside it, and takes markers and scales out of
 * the list of tensors. A value is then `fp8 · scale`; without a marker and without scales a
 * file is a plain cast.
 * Sources: ComfyUI, comfy/ops.py (`scaled_fp8_ops`), comfy/utils.py (`convert_old_quants`)
 * and comfy/quant_ops.py (`QUANT_ALGOS`).
 *
 * @throws InputError naming a matrix that should have a scale, or what is stored in another way
 */
export async function attachScales(
  tensors: ReadonlyMap<string, WeightSpan>,
  file: string,
): Promise<Map<string, WeightSpan>> {
  const weights = new Map<string, WeightSpan>();
  const scales = new Map<string, { name: string; span: WeightSpan }>();
  let scaled = false;
  for (const [name, span] of tensors) {
    const suffix = scaleSuffixes.find((end) => name.endsWith(end));
    if (suffix !== undefined) {
      const weight = `${name.slice(0, -suffix.length)}.weight`;
      if (scales.has(weight)) throw new InputError(`${file}: ${weight} has two scales.`);
      scales.set(weight, { name, span });
    } else if (name === marker) scaled = true;
    else if (name.endsWith(layerSuffix)) await checkLayerNote(name, span, file);
    else if (!unreadSuffixes.some((end) => name.endsWith(end))) weights.set(name, span);
  }
  for (const [weight, scale] of scales) {
    const span = weights.get(weight);
    if (span === undefined) {
      throw new InputError(`${file}: ${scale.name} is the scale of ${weight}, which isn't there.`);
    }
    weights.set(weight, { ...span, scale: scaleFor(span, scale, file) });
  }
  const bare = [...weights]
    .filter(([, span]) => isFp8(span) && span.shape.length === 2 && span.scale === undefined)
    .map(([name]) => name);
  if ((scaled || scales.size > 0) && bare.length > 0) {
    throw new InputError(
      `${file} is a scaled fp8 file, and these have no scale: ${listed(bare)}. ` +
        "Without it their values are wrong. Download the file again, or take another version of it.",
    );
  }
  return weights;
}

/** A scale for all values, or one for each row. */
function scaleFor(
  weight: WeightSpan,
  { name, span }: { name: string; span: WeightSpan },
  file: string,
): WeightSpan {
  const refuse = (why: string) => new InputError(`${file}: the scale ${name} ${why}.`);
  if (!isFp8(weight)) throw refuse(`belongs to ${weight.dtype} values; only fp8 has scales here`);
  if (weight.shape.length !== 2) throw refuse("belongs to what is no matrix");
  if (!["F32", "F16", "BF16"].includes(span.dtype)) throw refuse(`is ${span.dtype}`);
  const [rows] = weight.shape;
  const shape = String(span.shape);
  if (shape === "" || shape === "1" || shape === "1,1") return { ...span, shape: [] };
  if (shape === `${rows},1` || shape === `${rows}`) return { ...span, shape: [rows!] };
  throw refuse(`is [${span.shape}]; [] or [${rows}, 1] can be computed`);
}

/** Refuses a layer that is stored in a way that its dtype doesn't show. */
async function checkLayerNote(name: string, span: WeightSpan, file: string): Promise<void> {
  const layer = name.slice(0, -layerSuffix.length);
  let format: unknown;
  try {
    if (span.byteLength > longestLayerNote) throw new Error("it is too long");
    const handle = await open(span.file, "r");
    try {
      const bytes = Buffer.alloc(span.byteLength);
      await handle.read(bytes, 0, bytes.length, span.offset);
      ({ format } = JSON.parse(bytes.toString("utf8")));
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new InputError(`${file}: ${name} does not say how ${layer} is stored.`, { cause: error });
  }
  if (typeof format === "string" && computedFormats.has(format)) return;
  throw new InputError(
    `${file}: ${layer} is stored as ${JSON.stringify(format)}; of these files fp8 ` +
      `(${[...computedFormats].join(", ")}) can be computed. Take the bf16, fp8 or GGUF version.`,
  );
}
