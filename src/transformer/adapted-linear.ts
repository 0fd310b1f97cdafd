import type { Value } from "../onnx/graph.ts";
import type { GraphContext } from "../onnx/layers.ts";
import { toCompute, waitFor, weight } from "../onnx/layers.ts";
import { linear } from "../onnx/linear.ts";
import type { AdapterShape } from "./adapter.ts";
import { adapterInputs } from "./adapter.ts";

/** A transformer graph under construction, and the modules beside which adapters stand. */
export interface TransformerContext extends GraphContext {
  readonly adapted: ReadonlyMap<string, AdapterShape>;
}

/**
 * y = r ∘ (x Wᵀ) + adapter terms + b: x [..., in], r [out]. The base weight is
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
  const product = linear(context, x, module, { bias: false });
  const scaled = graph.op("Mul", [product, fed(context, names.rowScale, [outDim!])]);
  if (bias) terms.push(weight(context, `${module}.bias`));
  return terms.reduce(add, scaled);
}

/** What the adapters add to a module's result, each [..., out]. */
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
    const down = graph.op("MatMul", [x, transposed(context, loraA)]);
    const scaled = graph.op("Mul", [down, fed(context, names.loraScale, [rank])]);
    terms.push(graph.op("MatMul", [scaled, transposed(context, loraB)]));
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
    // Once x is there: else the runtime computes all modules' products at the start and keeps them.
    const w1a = waitFor(context, factor(own.w1a), x);
    const left = graph.op("MatMul", [w1a, factor(own.w1b)]);
    const w2a = waitFor(context, factor(own.w2a), x);
    const right = graph.op("MatMul", [w2a, factor(own.w2b)]);
    const delta = graph.op("Mul", [left, right]);
    terms.push(graph.op("MatMul", [x, transposed(context, delta)]));
  }
  for (let i = 0; i < shape.full; i++) {
    const own = names.full(i);
    const fedWhole = graph.input(own.whole, "f32", [outDim!, inDim!]);
    // As large as a weight, so it is narrowed only when it is used.
    const whole =
      graph.target.compute === "f32" ? fedWhole : toCompute(context, waitFor(context, fedWhole, x));
    const product = graph.op("MatMul", [x, transposed(context, whole)]);
    terms.push(graph.op("Mul", [product, fed(context, own.scale, [`n.${own.scale}`])]));
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
  const columns = (value: Value) => graph.op("Shape", [value], { start: 1, end: 2 });
  const grid = graph.op("Concat", [graph.ints([-1]), columns(w1), columns(w2.at(-1)!)], {
    axis: 0,
  });
  const rows = w2.reduceRight(
    (value, factor) => graph.op("MatMul", [value, transposed(context, factor)]),
    graph.op("Reshape", [x, grid]),
  );
  const mixed = graph.op("MatMul", [w1, rows]);
  const leading = graph.op("Shape", [x], { start: 0, end: -1 });
  return graph.op("Reshape", [mixed, graph.op("Concat", [leading, graph.ints([-1])], { axis: 0 })]);
}

function transposed({ graph }: GraphContext, value: Value): Value {
  return graph.op("Transpose", [value], { perm: [1, 0] });
}

function fed(context: GraphContext, name: string, shape: (number | string)[]): Value {
  return toCompute(context, context.graph.input(name, "f32", shape));
}
