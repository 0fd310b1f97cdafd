import type { WeightSpan } from "../onnx/graph.ts";
import { sizeOf } from "../tensor/tensor.ts";
import type { PartName } from "./names.ts";

/** Which trainer's rule a magnitude follows; they differ in how the multiplier acts. */
export type DoraRule = "ai-toolkit" | "peft" | "lycoris";

/** Where the tensors of one module's change of weight [out, in] lie: a `WeightDelta` before it is read. */
export type StoredDelta =
  /** B A: loraA [rank, in], loraB [out, rank], bias [out]. */
  | {
      readonly kind: "lora";
      readonly rank: number;
      readonly loraA: WeightSpan;
      readonly loraB: WeightSpan;
      readonly bias: WeightSpan | null;
    }
  /** w1 ⊗ w2, each one matrix or the product of two: w1 [l, m], w2 [k, n], out = l·k, in = m·n. */
  | {
      readonly kind: "lokr";
      /** null if neither is a product: then alpha does not act. */
      readonly rank: number | null;
      readonly w1: readonly WeightSpan[];
      readonly w2: readonly WeightSpan[];
    }
  /** (w1a w1b) ∘ (w2a w2b): a [out, rank], b [rank, in]. */
  | {
      readonly kind: "loha";
      readonly rank: number;
      readonly w1a: WeightSpan;
      readonly w1b: WeightSpan;
      readonly w2a: WeightSpan;
      readonly w2b: WeightSpan;
    }
  /** The change itself: of a matrix [out, in], or of a norm's weight [out]. */
  | { readonly kind: "full"; readonly rank: null; readonly whole: WeightSpan };

/** One module's part of a LoRA file. No values are read. */
export interface LoraModule {
  /** null: only its bias changes. */
  readonly delta: StoredDelta | null;
  /** [out], what is added to the module's own bias; null for none. */
  readonly biasDelta: WeightSpan | null;
  /** null for a norm, and where only a bias changes. */
  readonly inDim: number | null;
  readonly outDim: number;
  /** A tensor of one value that scales to alpha/rank, or null: that factor is 1. */
  readonly alpha: WeightSpan | null;
  /** A further factor, from the header's lora_adapter_metadata or adapter_config.json; 1 without. */
  readonly headerScale: number;
  /** The length that each row of the changed weight is brought to (DoRA), [out] or [out, 1]. */
  readonly magnitude: { readonly span: WeightSpan; readonly rule: DoraRule } | null;
  /** Which rows of the delta act, for a part of a fused one; null for all. */
  readonly rows: { readonly start: number; readonly count: number } | null;
}

export type Parts = Partial<Record<PartName, WeightSpan>>;

/** Magnitudes by the trainer that writes them. */
const doraRules = {
  magnitude: "ai-toolkit",
  lora_magnitude_vector: "peft",
  dora_scale: "lycoris",
} as const;

// The largest matrix of a model here has 44 million values. A few bytes can stand for a product that
// fills any memory: of a column and a row, or of a rank without end with itself.
const mostChanged = 2 ** 27;
const mostRank = 8192;

/** What is wrong with a module, to follow its name in a sentence. */
export class ModuleFault extends Error {}

/**
 * One module from its tensors.
 *
 * @throws ModuleFault
 */
export function moduleOf(parts: Parts, headerScale: number): LoraModule {
  for (const [part, span] of Object.entries(parts)) checkDtype(part, span);
  const delta = deltaOf(parts);
  const biasDelta = parts.diff_b ?? null;
  const [outDim, inDim = null] = delta === null ? [lengthOf("diff_b", biasDelta!)] : dimsOf(delta);
  if (biasDelta !== null && String(biasDelta.shape) !== String([outDim])) {
    throw new ModuleFault(`has a diff_b of [${biasDelta.shape}] and ${outDim} rows`);
  }
  if (outDim * (inDim ?? 1) > mostChanged) {
    throw new ModuleFault(
      `changes a matrix of [${outDim},${inDim}], larger than any of a model here`,
    );
  }
  const { alpha } = parts;
  if (alpha !== undefined && sizeOf(alpha.shape) !== 1) {
    throw new ModuleFault(`has an alpha of [${alpha.shape}], which is not one number`);
  }
  const magnitude = magnitudeOf(parts, outDim);
  // Neither alpha nor a configuration's scale acts on a change that is stored whole.
  const whole = isWhole(delta);
  return {
    delta,
    biasDelta,
    inDim,
    outDim,
    alpha: whole ? null : (alpha ?? null),
    headerScale: whole ? 1 : headerScale,
    magnitude,
    rows: null,
  };
}

/** Whether a change is stored as it is, a bias alone included, and not as factors. */
export function isWhole(
  delta: StoredDelta | null,
): delta is null | Extract<StoredDelta, { kind: "full" }> {
  return delta === null || delta.kind === "full";
}

function checkDtype(part: string, { dtype }: WeightSpan): void {
  if (["F32", "F16", "BF16"].includes(dtype)) return;
  throw new ModuleFault(
    `has its ${part} in ${dtype}${dtype.startsWith("F8") ? " without a scale" : ""}; F32, F16 and BF16 can be used`,
  );
}

function deltaOf(parts: Parts): StoredDelta | null {
  const kinds = (["lora", "lokr", "hada", "diff"] as const).filter((kind) =>
    Object.keys(parts).some((part) => kindOf(part) === kind),
  );
  const [kind] = kinds;
  if (kind === undefined) {
    if (parts.diff_b !== undefined && magnitudeNames(parts).length === 0) return null;
    throw new ModuleFault(`has ${Object.keys(parts).join(" and ")} and no matrices`);
  }
  if (kinds.length > 1) throw new ModuleFault(`has tensors of ${kinds.join(" and of ")}`);
  return { lora: loraOf, lokr: lokrOf, hada: lohaOf, diff: fullOf }[kind](parts);
}

/** What a part is to its module's weight; undefined if it is nothing to it by itself. */
function kindOf(part: string): string | undefined {
  if (part in doraRules || part === "diff_b") return undefined;
  return /^(?:lora|lokr|hada)(?=_)|^diff$/.exec(part)?.[0];
}

function fullOf(parts: Parts): StoredDelta {
  const [magnitude] = magnitudeNames(parts);
  if (magnitude !== undefined) throw new ModuleFault(`has both diff and ${magnitude}`);
  const whole = parts.diff!;
  if (whole.shape.length === 1) lengthOf("diff", whole);
  else matrix(parts, "diff");
  return { kind: "full", rank: null, whole };
}

/** Of a vector. */
function lengthOf(name: string, { shape }: WeightSpan): number {
  const [length] = shape;
  if (length !== undefined && length > 0 && shape.length === 1) return length;
  throw new ModuleFault(`has a ${name} of [${shape}], which is not a vector`);
}

function loraOf(parts: Parts): StoredDelta {
  const [loraA, loraB] = [matrix(parts, "lora_A"), matrix(parts, "lora_B")];
  const rank = sharedRank("lora_A", loraA, 0, "lora_B", loraB, 1);
  const bias = parts["lora_B.bias"] ?? null;
  if (bias !== null && String(bias.shape) !== String([loraB.shape[0]])) {
    throw new ModuleFault(`has a lora_B.bias of [${bias.shape}] beside lora_B [${loraB.shape}]`);
  }
  return { kind: "lora", rank, loraA, loraB, bias };
}

function lokrOf(parts: Parts): StoredDelta {
  const factor = (name: "lokr_w1" | "lokr_w2"): [WeightSpan[], number | null] => {
    if (parts[name] !== undefined) {
      if (parts[`${name}_a`] !== undefined || parts[`${name}_b`] !== undefined) {
        throw new ModuleFault(`has its ${name} whole and as a product`);
      }
      return [[matrix(parts, name)], null];
    }
    const [a, b] = [matrix(parts, `${name}_a`), matrix(parts, `${name}_b`)];
    return [[a, b], sharedRank(`${name}_a`, a, 1, `${name}_b`, b, 0)];
  };
  const [w1, rank1] = factor("lokr_w1");
  const [w2, rank2] = factor("lokr_w2");
  return { kind: "lokr", rank: rank2 ?? rank1, w1, w2 };
}

function lohaOf(parts: Parts): StoredDelta {
  const [w1a, w1b] = [matrix(parts, "hada_w1_a"), matrix(parts, "hada_w1_b")];
  const [w2a, w2b] = [matrix(parts, "hada_w2_a"), matrix(parts, "hada_w2_b")];
  const rank = sharedRank("hada_w1_a", w1a, 1, "hada_w1_b", w1b, 0);
  sharedRank("hada_w2_a", w2a, 1, "hada_w2_b", w2b, 0);
  if (w1a.shape[0] !== w2a.shape[0] || w1b.shape[1] !== w2b.shape[1]) {
    throw new ModuleFault(
      `has factors of two sizes: [${w1a.shape}] [${w1b.shape}] and [${w2a.shape}] [${w2b.shape}]`,
    );
  }
  return { kind: "loha", rank, w1a, w1b, w2a, w2b };
}

function matrix(parts: Parts, name: PartName): WeightSpan {
  const span = parts[name];
  if (span === undefined) throw new ModuleFault(`has no ${name}`);
  if (span.shape.length !== 2) {
    throw new ModuleFault(`has a ${name} of [${span.shape}], which is not a matrix`);
  }
  if (span.shape.includes(0)) throw new ModuleFault(`has rank 0: its ${name} is [${span.shape}]`);
  return span;
}

function sharedRank(
  nameA: string,
  a: WeightSpan,
  axisA: number,
  nameB: string,
  b: WeightSpan,
  axisB: number,
): number {
  const rank = a.shape[axisA]!;
  if (rank === b.shape[axisB]) {
    if (rank > mostRank) throw new ModuleFault(`has rank ${rank}, and ${mostRank} is the most`);
    return rank;
  }
  const inner = a.shape[1 - axisA]!;
  const swapped = inner === b.shape[1 - axisB] && inner < Math.min(rank, b.shape[axisB]!);
  const why = swapped ? ": its matrices are transposed" : "";
  throw new ModuleFault(
    `has rank ${rank} in ${nameA} [${a.shape}] and ${b.shape[axisB]} in ${nameB} [${b.shape}]${why}`,
  );
}

/** [out, in] of a delta; a norm's is [out]. */
function dimsOf(delta: StoredDelta): readonly [number, number | undefined] {
  if (delta.kind === "full") return [delta.whole.shape[0]!, delta.whole.shape[1]];
  if (delta.kind === "lora") return [delta.loraB.shape[0]!, delta.loraA.shape[1]!];
  if (delta.kind === "loha") return [delta.w1a.shape[0]!, delta.w1b.shape[1]!];
  const { w1, w2 } = delta;
  return [w1[0]!.shape[0]! * w2[0]!.shape[0]!, w1.at(-1)!.shape[1]! * w2.at(-1)!.shape[1]!];
}

function magnitudeOf(parts: Parts, outDim: number): LoraModule["magnitude"] {
  const names = magnitudeNames(parts);
  const [name] = names;
  if (name === undefined) return null;
  if (names.length > 1) throw new ModuleFault(`has both ${names.join(" and ")}`);
  const span = parts[name]!;
  if (sizeOf(span.shape) !== outDim || span.shape[0] !== outDim) {
    throw new ModuleFault(
      `has a ${name} of [${span.shape}] and ${outDim} rows: only a magnitude for each row can be used`,
    );
  }
  return { span, rule: doraRules[name] };
}

function magnitudeNames(parts: Parts) {
  return (["magnitude", "lora_magnitude_vector", "dora_scale"] as const).filter(
    (name) => parts[name] !== undefined,
  );
}
