import type { KnownAnswer } from "./known-answer.ts";
import { blocks, perHead, pictures, products } from "./known-layers.ts";
import { byElement, moves, norms, reductions } from "./known-values.ts";

export const knownAnswers: readonly KnownAnswer[] = [
  ...byElement,
  ...norms(64),
  ...norms(3840),
  ...reductions,
  ...products(5, 64, 48).slice(0, 1),
  ...products(70, 256, 192),
  perHead,
  ...moves,
  ...pictures,
  blocks(8, 32),
  blocks(8, 128),
  blocks(4, 32),
];
