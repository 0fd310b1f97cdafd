import type { Feeds, IntTensor } from "../onnx/session.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { FullDelta, LohaDelta, LokrDelta, LoraDelta } from "../tensor/weight-delta.ts";

/** x (scale ∘ A)ᵀ Bᵀ: scale [rank]. Several adapters lie side by side along the rank. */
export interface LoraTerm extends Omit<LoraDelta, "bias"> {
  readonly scale: Tensor;
}

/** x (w1 ⊗ w2)ᵀ */
interface LokrTerm extends LokrDelta {
  /** [out], a factor of each row; null for none. */
  readonly rowScale: Tensor | null;
}

/** scale ∘ (x wholeᵀ): scale [1], or [out] for a factor of each row. A file's tensor is fed as it is. */
interface FullTerm extends FullDelta {
  readonly scale: Tensor;
}

/**
 * What stands beside one module for a request. A linear one's y = rowScale ∘ (x Wᵀ) +
 * terms + bias; a norm's weight is its own + norm. Multipliers are folded in. Absent
 * parts cost nothing.
 */
export interface AdapterModule {
  readonly lora: LoraTerm | null;
  readonly lokr: readonly LokrTerm[];
  /** x ((w1a w1b) ∘ (w2a w2b))ᵀ */
  readonly loha: readonly LohaDelta[];
  readonly full: readonly FullTerm[];
  /** [out], of a norm; null for a linear module. */
  readonly norm: Tensor | null;
  /** [out] */
  readonly bias: Tensor | null;
  /** [out]; DoRA's. */
  readonly rowScale: Tensor | null;
}

/** The adapters of a request, by module name. */
export type AdapterModules = ReadonlyMap<string, AdapterModule>;

/** Which inputs a module's adapter has: all that the graph depends on, no values. */
export interface AdapterShape {
  readonly lora: boolean;
  readonly lokr: readonly {
    readonly factors: number;
    readonly cut: boolean;
    readonly rowScale: boolean;
  }[];
  readonly loha: number;
  readonly full: number;
  readonly norm: boolean;
  readonly bias: boolean;
  readonly rowScale: boolean;
}

export function shapeOf(module: AdapterModule): AdapterShape {
  return {
    lora: module.lora !== null,
    lokr: module.lokr.map(({ w2, rows, rowScale }) => ({
      factors: w2.length,
      cut: rows !== null,
      rowScale: rowScale !== null,
    })),
    loha: module.loha.length,
    full: module.full.length,
    norm: module.norm !== null,
    bias: module.bias !== null,
    rowScale: module.rowScale !== null,
  };
}

/** The graph inputs of one adapted module, by what they hold. */
export function adapterInputs(module: string) {
  return {
    loraA: `${module}.lora_A`,
    loraB: `${module}.lora_B`,
    loraScale: `${module}.lora_scale`,
    lokr: (i: number) => ({
      w1: `${module}.lokr_w1.${i}`,
      w2: (factor: number) => `${module}.lokr_w2.${i}.${factor}`,
      start: `${module}.lokr_start.${i}`,
      end: `${module}.lokr_end.${i}`,
      rowScale: `${module}.lokr_row_scale.${i}`,
    }),
    loha: (i: number) => ({
      w1a: `${module}.hada_w1_a.${i}`,
      w1b: `${module}.hada_w1_b.${i}`,
      w2a: `${module}.hada_w2_a.${i}`,
      w2b: `${module}.hada_w2_b.${i}`,
    }),
    full: (i: number) => ({
      whole: `${module}.diff.${i}`,
      scale: `${module}.diff_scale.${i}`,
    }),
    norm: `${module}.norm_diff`,
    bias: `${module}.adapter_bias`,
    rowScale: `${module}.row_scale`,
  };
}

/** The values of those inputs. */
export function adapterFeeds(name: string, module: AdapterModule): Feeds {
  const names = adapterInputs(name);
  const feeds: Record<string, Tensor | IntTensor> = {};
  if (module.lora !== null) {
    feeds[names.loraA] = module.lora.loraA;
    feeds[names.loraB] = module.lora.loraB;
    feeds[names.loraScale] = module.lora.scale;
  }
  for (const [i, { w1, w2, rows, rowScale }] of module.lokr.entries()) {
    const own = names.lokr(i);
    feeds[own.w1] = w1;
    for (const [factor, tensor] of w2.entries()) feeds[own.w2(factor)] = tensor;
    if (rows !== null) {
      feeds[own.start] = int(rows.start);
      feeds[own.end] = int(rows.start + rows.count);
    }
    if (rowScale !== null) feeds[own.rowScale] = rowScale;
  }
  for (const [i, { w1a, w1b, w2a, w2b }] of module.loha.entries()) {
    const own = names.loha(i);
    feeds[own.w1a] = w1a;
    feeds[own.w1b] = w1b;
    feeds[own.w2a] = w2a;
    feeds[own.w2b] = w2b;
  }
  for (const [i, { whole, scale }] of module.full.entries()) {
    const own = names.full(i);
    feeds[own.whole] = whole;
    feeds[own.scale] = scale;
  }
  if (module.norm !== null) feeds[names.norm] = module.norm;
  if (module.bias !== null) feeds[names.bias] = module.bias;
  if (module.rowScale !== null) feeds[names.rowScale] = module.rowScale;
  return feeds;
}

function int(value: number): IntTensor {
  return { data: BigInt64Array.of(BigInt(value)), shape: [1] };
}
