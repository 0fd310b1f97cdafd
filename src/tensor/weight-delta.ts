import type { Tensor } from "./tensor.ts";

/** B A: loraA [rank, in], loraB [out, rank]. */
export interface LoraDelta {
  readonly loraA: Tensor;
  readonly loraB: Tensor;
  /** [out] */
  readonly bias: Tensor | null;
}

/** w1 ⊗ w2: w1 [l, m], w2 [k, n] or the two factors of that, [k, rank] and [rank, n]; out = l·k, in = m·n. */
export interface LokrDelta {
  readonly w1: Tensor;
  readonly w2: readonly Tensor[];
  /** Rows of the product that act; null for all. */
  readonly rows: { readonly start: number; readonly count: number } | null;
}

/** (w1a w1b) ∘ (w2a w2b): a [out, rank], b [rank, in]. */
export interface LohaDelta {
  readonly w1a: Tensor;
  readonly w1b: Tensor;
  readonly w2a: Tensor;
  readonly w2b: Tensor;
}

/** The change itself: of a matrix [out, in], or of a norm's weight [out]. */
export interface FullDelta {
  readonly whole: Tensor;
}

/** A change of one weight [out, in], not yet scaled, in the forms that trainers make. */
export type WeightDelta =
  | ({ readonly kind: "lora" } & LoraDelta)
  | ({ readonly kind: "lokr" } & LokrDelta)
  | ({ readonly kind: "loha" } & LohaDelta)
  | ({ readonly kind: "full" } & FullDelta);
