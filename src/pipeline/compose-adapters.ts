import type { Tensor } from "../tensor/tensor.ts";
import type { AdapterModule, AdapterModules, LoraTerm } from "../transformer/adapter.ts";
import type { LoadedLora, LoadedModule } from "./loaded-lora.ts";

/** A LoRA of a request and how strongly it acts. */
export interface ActiveLora {
  readonly lora: LoadedLora;
  readonly multiplier: number;
}

/** One LoRA's part of a module: its delta times factor, its rows times rowScale. */
interface Term {
  readonly module: LoadedModule;
  /** Of the delta; the multiplier alone is that of the module's own bias. */
  readonly factor: number;
  readonly multiplier: number;
  rowScale: Float32Array<ArrayBuffer> | null;
}

/** PyTorch's float32 epsilon, which LyCORIS adds to a row's length. */
const epsilon = 2 ** -23;

/**
 * What the transformer takes: every LoRA with its multiplier, the sum over
 * several as PEFT 0.21.2 has it with several active adapters. A DoRA scales
 * rows of the base and of the LoRAs before it, so their order matters then.
 */
export function composeAdapters(loras: readonly ActiveLora[]): AdapterModules {
  const names = new Set(loras.flatMap(({ lora }) => [...lora.modules.keys()]));
  const composed = new Map<string, AdapterModule>();
  for (const name of names) {
    const module = composeModule(
      loras.flatMap(({ lora, multiplier }) => {
        const own = lora.modules.get(name);
        return own === undefined ? [] : [{ module: own, multiplier }];
      }),
    );
    if (module !== null) composed.set(name, module);
  }
  return composed;
}

function composeModule(
  active: readonly { readonly module: LoadedModule; readonly multiplier: number }[],
): AdapterModule | null {
  const terms: Term[] = [];
  let base: Float32Array<ArrayBuffer> | null = null;
  for (const { module, multiplier } of active) {
    const rows = rowScaleOf(module, multiplier);
    if (rows !== null) {
      base = times(base, rows);
      for (const term of terms) term.rowScale = times(term.rowScale, rows);
    }
    // LyCORIS moves between the base's rows and the whole DoRA's; the delta in them stays whole.
    const strength = module.magnitude?.rule === "lycoris" && multiplier !== 0 ? 1 : multiplier;
    const factor = Math.fround(strength * module.scale);
    if (factor !== 0)
      terms.push({ module, factor, multiplier: Math.fround(multiplier), rowScale: rows });
  }
  if (terms.length === 0 && base === null) return null;
  return {
    lora: loraOf(terms),
    lokr: terms.flatMap(lokrOf),
    loha: terms.flatMap(lohaOf),
    full: terms.flatMap(fullOf),
    norm: sumOf(terms.flatMap(normOf)),
    bias: sumOf(terms.flatMap(biasesOf)),
    rowScale: base === null ? null : vector(base),
  };
}

/**
 * The factor of each row of the changed weight, or null where it has none:
 * magnitude over length, as each trainer lets the multiplier act on it.
 * Sources: ai-toolkit `DoRA.py` and `network_mixins.py` (0 turns it off), PEFT
 * `dora.py` (0 leaves the magnitude), LyCORIS `apply_weight_decompose`; that one
 * leaves its delta at 0, which nobody means: here 0 turns it off.
 */
function rowScaleOf(
  { magnitude, norms, scale }: LoadedModule,
  multiplier: number,
): Float32Array<ArrayBuffer> | null {
  if (magnitude === null || norms === null) return null;
  const { rule, values } = magnitude;
  if (multiplier === 0 && rule !== "peft") return null;
  const strength = rule === "lycoris" ? scale : multiplier * scale;
  return Float32Array.from(values.data, (wanted, row) => {
    const squared =
      norms.weight.data[row]! +
      2 * strength * norms.cross.data[row]! +
      strength * strength * norms.delta.data[row]!;
    const length = Math.sqrt(Math.max(squared, 0));
    return rule === "lycoris"
      ? multiplier * (wanted / (length + epsilon) - 1) + 1
      : wanted / length;
  });
}

/** All low-rank terms side by side along the rank. */
function loraOf(terms: readonly Term[]): LoraTerm | null {
  const pairs = terms.flatMap(({ module: { delta }, factor, rowScale }) =>
    delta?.kind === "lora"
      ? [{ loraA: delta.loraA, loraB: scaleRows(delta.loraB, rowScale), factor }]
      : [],
  );
  const [first] = pairs;
  if (first === undefined) return null;
  const rank = pairs.reduce((sum, { loraA }) => sum + loraA.shape[0]!, 0);
  const scale = new Float32Array(rank);
  let start = 0;
  for (const { loraA, factor } of pairs) {
    const end = start + loraA.shape[0]!;
    scale.fill(factor, start, end);
    start = end;
  }
  const single = pairs.length === 1;
  return {
    loraA: single ? first.loraA : stackRows(pairs.map(({ loraA }) => loraA)),
    loraB: single ? first.loraB : joinColumns(pairs.map(({ loraB }) => loraB)),
    scale: vector(scale),
  };
}

function lokrOf({ module: { delta }, factor, rowScale }: Term): AdapterModule["lokr"] {
  if (delta?.kind !== "lokr") return [];
  const { w1, w2, rows } = delta;
  return [
    {
      w1: scaled(w1, factor),
      w2,
      rows,
      rowScale: rowScale === null ? null : vector(rowScale),
    },
  ];
}

function lohaOf({ module: { delta }, factor, rowScale }: Term): AdapterModule["loha"] {
  if (delta?.kind !== "loha") return [];
  const { w1a, w1b, w2a, w2b } = delta;
  return [{ w1a: scaleRows(scaled(w1a, factor), rowScale), w1b, w2a, w2b }];
}

function fullOf({ module: { delta }, factor, rowScale }: Term): AdapterModule["full"] {
  if (delta?.kind !== "full" || delta.whole.shape.length === 1) return [];
  const scale = rowScale?.map((row) => row * factor) ?? Float32Array.of(factor);
  return [{ whole: delta.whole, scale: vector(scale) }];
}

function normOf({ module: { delta }, factor }: Term): Float32Array<ArrayBuffer>[] {
  if (delta?.kind !== "full" || delta.whole.shape.length !== 1) return [];
  return [delta.whole.data.map((value) => value * factor)];
}

/** A bias after lora_B is part of the product, whose rows a DoRA scales; the module's own is not. */
function biasesOf({ module: { delta, biasDelta }, factor, multiplier, rowScale }: Term) {
  const biases: Float32Array<ArrayBuffer>[] = [];
  if (delta?.kind === "lora" && delta.bias !== null) {
    biases.push(delta.bias.data.map((value, i) => value * factor * (rowScale?.[i] ?? 1)));
  }
  if (biasDelta !== null) biases.push(biasDelta.data.map((value) => value * multiplier));
  return biases;
}

function sumOf(vectors: readonly Float32Array<ArrayBuffer>[]): Tensor | null {
  const [first, ...rest] = vectors;
  if (first === undefined) return null;
  for (const own of rest) for (let i = 0; i < first.length; i++) first[i]! += own[i]!;
  return vector(first);
}

function vector(data: Float32Array<ArrayBuffer>): Tensor {
  return { data, shape: [data.length] };
}

function times(
  a: Float32Array<ArrayBuffer> | null,
  b: Float32Array<ArrayBuffer>,
): Float32Array<ArrayBuffer> {
  return a === null ? b : a.map((value, i) => value * b[i]!);
}

function scaled({ data, shape }: Tensor, factor: number): Tensor {
  return { data: data.map((value) => value * factor), shape };
}

/** Row i of a [rows, columns] tensor times factor i. */
function scaleRows(tensor: Tensor, factors: Float32Array | null): Tensor {
  if (factors === null) return tensor;
  const columns = tensor.shape[1]!;
  const data = new Float32Array(tensor.data.length);
  for (let i = 0; i < data.length; i++)
    data[i] = tensor.data[i]! * factors[Math.floor(i / columns)]!;
  return { data, shape: tensor.shape };
}

function stackRows(tensors: readonly Tensor[]): Tensor {
  const rows = tensors.reduce((sum, { shape }) => sum + shape[0]!, 0);
  const columns = tensors[0]!.shape[1]!;
  const data = new Float32Array(rows * columns);
  let at = 0;
  for (const tensor of tensors) {
    data.set(tensor.data, at);
    at += tensor.data.length;
  }
  return { data, shape: [rows, columns] };
}

function joinColumns(tensors: readonly Tensor[]): Tensor {
  const rows = tensors[0]!.shape[0]!;
  const columns = tensors.reduce((sum, { shape }) => sum + shape[1]!, 0);
  const data = new Float32Array(rows * columns);
  let left = 0;
  for (const { data: own, shape } of tensors) {
    const width = shape[1]!;
    for (let row = 0; row < rows; row++) {
      data.set(own.subarray(row * width, (row + 1) * width), row * columns + left);
    }
    left += width;
  }
  return { data, shape: [rows, columns] };
}
