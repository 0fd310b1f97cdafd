import type { Value } from "../onnx/graph.ts";
import type { GraphContext } from "../onnx/layers.ts";
import { toCompute } from "../onnx/layers.ts";
import { linear } from "../onnx/linear.ts";

/** A transformer graph under construction, and the modules beside which adapters stand. */
export interface TransformerContext extends GraphContext {
  readonly adapted: ReadonlySet<string>;
}

/** The graph inputs that one adapted module adds. */
export function adapterInputs(module: string): { loraA: string; loraB: string; scale: string } {
  return { loraA: `${module}.lora_A`, loraB: `${module}.lora_B`, scale: `${module}.lora_scale` };
}

/**
 * y = x Wᵀ + b + ((x Aᵀ) ∘ s) Bᵀ: x [..., in], A [rank, in], B [out, rank],
 * s [rank]. The base weight is never touched; rank 0 adds exactly nothing.
 * Formula: PEFT, `tuners/lora/layer.py`; with s one number per rank, several
 * adapters are one pair of matrices.
 */
export function adaptedLinear(
  context: TransformerContext,
  x: Value,
  module: string,
  { bias }: { bias: boolean },
): Value {
  const base = linear(context, x, module, { bias });
  if (!context.adapted.has(module)) return base;
  const { graph } = context;
  const [outDim, inDim] = graph.span(`${module}.weight`).shape;
  const names = adapterInputs(module);
  const rank = `rank.${module}`;
  const fed = (name: string, shape: (number | string)[]) =>
    toCompute(context, graph.input(name, "f32", shape));
  const transpose = (value: Value) => graph.op("Transpose", [value], { perm: [1, 0] });
  const down = graph.op("MatMul", [x, transpose(fed(names.loraA, [rank, inDim!]))]);
  const scaled = graph.op("Mul", [down, fed(names.scale, [rank])]);
  const up = graph.op("MatMul", [scaled, transpose(fed(names.loraB, [outDim!, rank]))]);
  return graph.op("Add", [base, up]);
}
