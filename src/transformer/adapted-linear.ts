import type { Value } from "../onnx/graph.ts";
import type { GraphContext } from "../onnx/layers.ts";
import { toCompute, weight } from "../onnx/layers.ts";
import { linear, product } from "../onnx/linear.ts";
import type { AdapterShape } from "./adapter.ts";
import { adapterInputs } from "./adapter.ts";
import type { Cuts } from "./cuts.ts";

/** A transformer graph under construction, and the modules beside which adapters stand. */
export interface TransformerContext extends GraphContext {
  readonly adapted: ReadonlyMap<string, AdapterShape>;
  readonly cuts: Cuts;
}

/**
 * y = r ∘ (x Wᵀ) + adapter terms + b: x [rows, in], r [out]. The base weight is
 * never touched.
 * Formulas: PEFT 0.21.2 `tuners/lora/layer.py`, ai-toolkit `toolkit/models/lokr.py`,
 * LyCORIS `modules/loha.py`, ai-toolkit `FullModule`; with DoRA, r and the terms' rows carry the magnitude.
 */
export function adaptedLinear(
  context: TransformerContext,
  x: Value,
  module: string,
  { bias }: { bias: boolean },
): Value {
  const shape = context.adapted.get(module);
  if (shape === undefined) return linear(context, x, module, { bias });
  const { graph } = context;
  const names = adapterInputs(module);
  const [outDim] = graph.span(`${module}.weight`).shape;
  const add = (a: Value, b: Value) => graph.op("Add", [a, b]);
  const terms = adapterTerms(context, x, module, shape);
  if (shape.bias) terms.push(fed(context, names.bias, [outDim!]));
  if (!shape.rowScale) return terms.reduce(add, linear(context, x, module, { bias }));
  const base = linear(context, x, module, { bias: false });
  const scaled = graph.op("Mul", [base, fed(context, names.rowScale, [outDim!])]);
  if (bias) terms.push(weight(context, `${module}.bias`));
  return terms.reduce(add, scaled);
}

/** What the adapters add to a module's result, each [rows, out]. */
function adapterTerms(
  context: TransformerContext,
  x: Value,
  module: string,
  shape: AdapterShape,
): Value[] {
  const names = adapterInputs(module);
  const { graph } = context;
  const [outDim, inDim] = graph.span(`${module}.weight`).shape;
  const terms: Value[] = [];
  if (shape.lora) {
    const rank = `rank.${module}`;
    const loraA = fed(context, names.loraA, [rank, inDim!]);
    const loraB = fed(context, names.loraB, [outDim!, rank]);
    const down = product(context, x, loraA);
    const scaled = graph.op("Mul", [down, fed(context, names.loraScale, [rank])]);
    terms.push(product(context, scaled, loraB));
  }
  for (const [i, term] of shape.lokr.entries()) {
    const own = names.lokr(i);
    let y = kroneckerProduct(context, x, {
      w1: fed(context, own.w1, [`l.${own.w1}`, `m.${own.w1}`]),
      w2: Array.from({ length: term.factors }, (_, factor) =>
        fed(context, own.w2(factor), [`k.${own.w2(factor)}`, `n.${own.w2(factor)}`]),
      ),
    });
    if (term.cut) {
      const [start, end] = [graph.input(own.start, "i64", [1]), graph.input(own.end, "i64", [1])];
      y = graph.op("Slice", [y, start, end, graph.ints([-1])]);
    }
    if (term.rowScale) y = graph.op("Mul", [y, fed(context, own.rowScale, [outDim!])]);
    terms.push(y);
  }
  for (let i = 0; i < shape.loha; i++) {
    const own = names.loha(i);
    const factor = (name: string) => fed(context, name, [`rows.${name}`, `columns.${name}`]);
    const left = graph.op("MatMul", [factor(own.w1a), factor(own.w1b)]);
    const right = graph.op("MatMul", [factor(own.w2a), factor(own.w2b)]);
    terms.push(product(context, x, graph.op("Mul", [left, right])));
  }
  for (let i = 0; i < shape.full; i++) {
    const own = names.full(i);
    const change = product(context, x, fed(context, own.whole, [outDim!, inDim!]));
    terms.push(graph.op("Mul", [change, fed(context, own.scale, [`n.${own.scale}`])]));
  }
  return terms;
}

/** A norm's weight [n] with what adapters add to it. */
export function adaptedNorm(context: TransformerContext, module: string): Value {
  const own = weight(context, `${module}.weight`);
  if (context.adapted.get(module)?.norm !== true) return own;
  const { shape } = context.graph.span(`${module}.weight`);
  return context.graph.op("Add", [own, fed(context, adapterInputs(module).norm, [...shape])]);
}

/**
 * x (w1 ⊗ w2)ᵀ without the product's matrix: a token's features are m rows of n,
 * which w2 maps to m rows of k, and w1 to l rows of k.
 */
function kroneckerProduct(
  context: GraphContext,
  x: Value,
  { w1, w2 }: { readonly w1: Value; readonly w2: readonly Value[] },
): Value {
  const { graph } = context;
  const size = (value: Value, axis: 0 | 1) =>
    graph.op("Shape", [value], { start: axis, end: axis + 1 });
  const shaped = (value: Value, ...dims: Value[]) =>
    graph.op("Reshape", [value, graph.op("Concat", dims, { axis: 0 })]);
  const any = graph.ints([-1]);
  const rows = w2.reduceRight(
    (value, factor) => product(context, value, factor),
    shaped(x, any, size(w2.at(-1)!, 1)),
  );
  const mixed = graph.op("MatMul", [w1, shaped(rows, any, size(w1, 1), size(w2[0]!, 0))]);
  return shaped(mixed, size(x, 0), any);
}

function fed(context: GraphContext, name: string, shape: (number | string)[]): Value {
  return toCompute(context, context.graph.fedWeight(name, "f32", shape));
}
