import { InputError } from "../errors.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import { stopPoint } from "../stop-point.ts";
import { roundToDtype } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { firstNonFinite } from "../tensor/tensor.ts";
import type { WeightDelta } from "../tensor/weight-delta.ts";
import { cutF32, readF32 } from "../weights/safetensors.ts";
import type { LoraFile } from "./file.ts";
import type { DoraRule, LoraModule, StoredDelta } from "./module.ts";

/** One module's values. */
export interface AdapterValues {
  /** A fused one's rows are cut out; null: only the bias changes. */
  readonly delta: WeightDelta | null;
  /** [out], what is added to the module's own bias. */
  readonly biasDelta: Tensor | null;
  /** What the delta is still to be multiplied by; 1 where alpha/rank is folded into the matrices. */
  readonly scale: number;
  /** All that multiplies the stored tensors; 1 where neither tensors nor header have an alpha, whatever the ranks of other modules. */
  readonly storedScale: number;
  /** As stored; null: none is. */
  readonly alpha: number | null;
  /** [out] */
  readonly magnitude: { readonly values: Tensor; readonly rule: DoraRule } | null;
}

export interface Reading {
  /** The file's bytes, where they are in memory anyhow. */
  readonly held?: Uint8Array<ArrayBuffer> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * @throws CanceledError at the module after the signal
 * @throws InputError naming the tensor that holds NaN or infinity, or an alpha
 * that isn't above 0, and if the whole LoRA is zero
 */
export async function loadAdapter(
  lora: LoraFile,
  reading: Reading = {},
): Promise<Map<string, AdapterValues>> {
  const { values, damaged } = await loadModules(lora, reading);
  const [first] = damaged;
  if (first !== undefined) throw first;
  if ([...values.values()].every(doesNothing)) {
    throw new InputError(
      `${lora.file} can't act: its values are all zero. It was saved before its training began: use a later save.`,
    );
  }
  return values;
}

/** Reads every module that can be read, and says what is wrong with the others. */
export async function loadModules(
  lora: LoraFile,
  { held, signal }: Reading = {},
): Promise<{ values: Map<string, AdapterValues>; damaged: InputError[] }> {
  const values = new Map<string, AdapterValues>();
  const damaged: InputError[] = [];
  const read = readerOf(lora, held);
  for (const [name, module] of lora.modules) {
    await stopPoint(signal);
    try {
      values.set(name, await loadModule(name, module, read));
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      damaged.push(error);
    }
  }
  return { values, damaged };
}

type Read = (span: WeightSpan, name: string) => Promise<Tensor>;

/** Parts of a fused module share tensors: each is read once. */
function readerOf({ file }: LoraFile, held: Uint8Array<ArrayBuffer> | undefined): Read {
  const known = new Map<WeightSpan, Tensor>();
  return async (span, name) => {
    const tensor =
      known.get(span) ?? (held === undefined ? await readF32(span) : cutF32(held, span));
    known.set(span, tensor);
    const index = firstNonFinite(tensor.data);
    if (index === -1) return tensor;
    throw new InputError(
      `${file} is damaged: ${name} is ${tensor.data[index]} at element ${index}. ` +
        "Its training diverged: use an earlier save.",
    );
  };
}

async function loadModule(
  name: string,
  { delta, biasDelta, alpha, headerScale, magnitude, rows }: LoraModule,
  read: Read,
): Promise<AdapterValues> {
  const rowsOf = (tensor: Tensor) => (rows === null ? tensor : cutRows(tensor, rows));
  // A LoKr of whole factors has none: trainers store what is no number there.
  const rank = delta?.rank ?? null;
  const stored = alpha === null || rank === null ? null : await readAlpha(name, alpha, read);
  const ownScale = stored === null || rank === null ? 1 : stored / rank;
  const values = delta === null ? null : await loadDelta(name, delta, rows, read);
  const folds = delta?.kind === "lora" && magnitude === null;
  return {
    delta: folds && values !== null && ownScale !== 1 ? foldScale(values, delta, ownScale) : values,
    biasDelta: biasDelta === null ? null : rowsOf(await read(biasDelta, `${name}.diff_b`)),
    scale: folds ? headerScale : headerScale * ownScale,
    storedScale: headerScale * ownScale,
    alpha: stored,
    magnitude:
      magnitude === null
        ? null
        : {
            values: rowsOf(await read(magnitude.span, `${name}'s magnitude`)),
            rule: magnitude.rule,
          },
  };
}

/**
 * alpha/rank folded into the matrices and rounded to the file's dtype: what
 * diffusers does with a LoRA's alpha, and a product of bf16 values shows it.
 * Source: diffusers 0.42.1 `get_alpha_scales` in `lora_conversion_utils.py`.
 */
function foldScale(values: WeightDelta, delta: StoredDelta, scale: number): WeightDelta {
  if (values.kind !== "lora" || delta.kind !== "lora") return values;
  let [down, up] = [scale, 1];
  while (down * 2 < up) [down, up] = [down * 2, up / 2];
  const times = ({ data, shape }: Tensor, factor: number, { dtype }: WeightSpan): Tensor => {
    const single = Math.fround(factor);
    const product = data.map((value) => value * single);
    roundToDtype(product, dtype);
    return { data: product, shape };
  };
  return {
    ...values,
    loraA: times(values.loraA, down, delta.loraA),
    loraB: times(values.loraB, up, delta.loraB),
  };
}

async function loadDelta(
  name: string,
  delta: StoredDelta,
  rows: LoraModule["rows"],
  read: Read,
): Promise<WeightDelta> {
  const get = (span: WeightSpan, part: string) => read(span, `${name}.${part}`);
  const cut = (tensor: Tensor) => (rows === null ? tensor : cutRows(tensor, rows));
  if (delta.kind === "lora") {
    return {
      kind: "lora",
      loraA: await get(delta.loraA, "lora_A"),
      loraB: cut(await get(delta.loraB, "lora_B")),
      bias: delta.bias === null ? null : cut(await get(delta.bias, "lora_B.bias")),
    };
  }
  if (delta.kind === "full") {
    return { kind: "full", whole: cut(await get(delta.whole, "diff")) };
  }
  if (delta.kind === "loha") {
    return {
      kind: "loha",
      w1a: cut(await get(delta.w1a, "hada_w1_a")),
      w1b: await get(delta.w1b, "hada_w1_b"),
      w2a: cut(await get(delta.w2a, "hada_w2_a")),
      w2b: await get(delta.w2b, "hada_w2_b"),
    };
  }
  const w1: Tensor[] = [];
  for (const span of delta.w1) w1.push(await get(span, "lokr_w1"));
  const w2: Tensor[] = [];
  for (const span of delta.w2) w2.push(await get(span, "lokr_w2"));
  // The first factor is small, 64 a side at most in practice: its product costs nothing.
  return { kind: "lokr", w1: w1.reduce(multiply), w2, rows };
}

/** Source for alpha above 0: diffusers 0.42.1 never ends loading one below; with 0 nothing would act. */
async function readAlpha(name: string, span: WeightSpan, read: Read): Promise<number> {
  const { data } = await read(span, `${name}.alpha`);
  const alpha = data[0]!;
  if (alpha > 0) return alpha;
  throw new InputError(
    `${span.file} can't act: ${name}.alpha is ${alpha}, and an alpha is above 0. Save it again in the trainer.`,
  );
}

/** Rows of a [rows, …] tensor, sharing memory. */
function cutRows(
  { data, shape }: Tensor,
  { start, count }: { readonly start: number; readonly count: number },
): Tensor {
  const size = data.length / shape[0]!;
  return {
    data: data.subarray(start * size, (start + count) * size),
    shape: [count, ...shape.slice(1)],
  };
}

/** a [i, k] times b [k, j]. */
function multiply(a: Tensor, b: Tensor): Tensor {
  const [rows, inner, columns] = [a.shape[0]!, a.shape[1]!, b.shape[1]!];
  const data = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0; k < inner; k++) sum += a.data[i * inner + k]! * b.data[k * columns + j]!;
      data[i * columns + j] = sum;
    }
  }
  return { data, shape: [rows, columns] };
}

/** Whether a module changes nothing, whatever the multiplier. */
export function doesNothing({ delta, biasDelta, magnitude }: AdapterValues): boolean {
  const isZero = ({ data }: Tensor) => data.every((value) => value === 0);
  if (magnitude !== null || (biasDelta !== null && !isZero(biasDelta))) return false;
  if (delta === null) return true;
  if (delta.kind === "full") return isZero(delta.whole);
  if (delta.kind === "lora") {
    return (
      (isZero(delta.loraB) || isZero(delta.loraA)) && (delta.bias === null || isZero(delta.bias))
    );
  }
  if (delta.kind === "lokr") return isZero(delta.w1) || delta.w2.some(isZero);
  return [delta.w1a, delta.w1b, delta.w2a, delta.w2b].some(isZero);
}
