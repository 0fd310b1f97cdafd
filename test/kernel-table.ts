import { readFileSync } from "node:fs";
import type { ElementType } from "../src/onnx/model-proto.ts";
import type { OnnxModel, OnnxNode } from "./onnx-model.ts";
import { elementTypeOf } from "./onnx-model.ts";

/** What `reference/kernel_table.py` writes: facts from ONNX Runtime's own list of kernels. */
interface KernelTable {
  readonly runtime: string;
  readonly source: string;
  /** In which opsets each operator was defined anew, ascending. */
  readonly definitions: Readonly<Record<string, readonly number[]>>;
  readonly kernels: Readonly<Record<Provider, Readonly<Record<string, OperatorKernels>>>>;
}

export type Provider = "cuda" | "dml";

interface OperatorKernels {
  /** Element types, or names of them that the kernels' `types` bind: one entry for each form. */
  readonly parameters: readonly {
    readonly in: readonly string[];
    readonly out: readonly string[];
  }[];
  readonly versions: readonly Kernel[];
}

interface Kernel {
  readonly from: number;
  /** null: the definition of `from` alone. */
  readonly to: number | null;
  /** By name, separated by spaces. Of the forms that one operator had, a kernel knows the names of its own. */
  readonly types: Readonly<Record<string, string>>;
}

const file = new URL("kernel-table.json", import.meta.url);
export const kernelTable = JSON.parse(readFileSync(file, "utf8")) as KernelTable;

type Types = readonly (ElementType | null)[];

/** Which operators a result's type follows, and what it is. An operator that is not here is unknown. */
const typeOfResult: Readonly<
  Record<string, (inputs: Types, node: OnnxNode) => ElementType | null>
> = {
  ...Object.fromEntries(
    [
      ...[
        "Add",
        "Sub",
        "Mul",
        "Div",
        "MatMul",
        "Gemm",
        "Conv",
        "Neg",
        "Sigmoid",
        "Tanh",
        "Sqrt",
        "Exp",
        "Max",
      ],
      ...["Softmax", "Concat", "Split", "Reshape", "Transpose", "Unsqueeze", "Squeeze", "Slice"],
      ...["Expand", "Gather", "ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceMax", "Resize"],
      ...[
        "Clip",
        "Identity",
        "LayerNormalization",
        "InstanceNormalization",
        "Max",
        "Exp",
        "Pad",
        "Tile",
      ],
      ...["BitShift", "BitwiseAnd", "com.microsoft.MultiHeadAttention"],
      ...["com.microsoft.MatMulNBits", "com.microsoft.RotaryEmbedding"],
    ].map((operator) => [operator, ([first]: Types) => first ?? null]),
  ),
  RMSNormalization: ([, scale]) => scale ?? null,
  SimplifiedLayerNormalization: ([, scale]) => scale ?? null,
  Where: ([, first]) => first ?? null,
  Shape: () => "i64",
  Cast: (_, { numbers }) => elementTypeOf(numbers.get("to") ?? 0),
};

/** A node with the element types of what it reads and makes. */
interface TypedNode {
  readonly node: OnnxNode;
  readonly operator: string;
  readonly inputs: Types;
  readonly output: ElementType;
}

/**
 * The types of every value of a graph.
 *
 * @throws RangeError at an operator whose result's type is not known, and at a value that nothing makes
 */
function typedNodes(model: OnnxModel): TypedNode[] {
  const types = new Map(model.types);
  return model.nodes.map((node) => {
    const operator = node.domain === "" ? node.operator : `${node.domain}.${node.operator}`;
    const inputs = node.inputs.map((name) => {
      if (name === "") return null;
      const type = types.get(name);
      if (type === undefined) throw new RangeError(`${model.name}: nothing makes ${name}`);
      return type;
    });
    const output = typeOfResult[operator]?.(inputs, node) ?? null;
    if (output === null) {
      throw new RangeError(
        `${model.name}: ${node.name}: what type ${operator} makes is not known; add it to test/kernel-table.ts`,
      );
    }
    for (const name of node.outputs) types.set(name, output);
    return { node, operator, inputs, output };
  });
}

/** All types of a graph's values. */
export function elementTypes(model: OnnxModel): Set<ElementType> {
  return new Set([...model.types.values(), ...typedNodes(model).map(({ output }) => output)]);
}

/** Why each node of a graph has no kernel on a device, in words; none if all have one. */
export function withoutKernels(model: OnnxModel, provider: Provider): string[] {
  const opset = model.opsets.get("")!;
  return typedNodes(model).flatMap((typed) => {
    // The runtime takes it out before it looks for kernels.
    if (typed.operator === "Identity") return [];
    const why = whyNoKernel(typed, provider, opset);
    if (why === null) return [];
    const { node, operator, inputs, output } = typed;
    const types = `(${inputs.map((type) => type ?? "-").join(", ")}) -> ${output}`;
    return [`${model.name}, ${node.name}: ${operator} of opset ${opset} ${types}: ${why}`];
  });
}

function whyNoKernel(typed: TypedNode, provider: Provider, opset: number): string | null {
  const { operator } = typed;
  const definitions = kernelTable.definitions[operator];
  const known = kernelTable.kernels[provider][operator];
  if (definitions === undefined) {
    return "the table does not have it; add it to reference/kernel_table.py and write the table again";
  }
  if (known === undefined) return `${provider} has no kernel of any version that these opsets mean`;
  const since = operator.includes(".") ? 1 : (definitions.findLast((v) => v <= opset) ?? null);
  if (since === null) return `opset ${opset} does not have it`;
  // A kernel without an end takes its own definition alone: KernelRegistry's VerifyVersion.
  const versions = known.versions.filter(
    ({ from, to }) => from === since || (to !== null && from <= since && since <= to),
  );
  if (versions.some((kernel) => known.parameters.some((form) => takes(form, kernel, typed))))
    return null;
  return versions.length === 0
    ? `${provider} has no kernel of its version ${since}, only of ${known.versions.map(rangeText).join(", ")}`
    : `${provider} has ${versions.map(({ types }) => JSON.stringify(types)).join(" or ")}`;
}

function rangeText({ from, to }: Kernel): string {
  return to === null ? `${from}` : `${from} to ${to}`;
}

/** Whether a form's parameters and a kernel's types fit a node; the last parameter may stand for many. */
function takes(
  form: OperatorKernels["parameters"][number],
  kernel: Kernel,
  node: TypedNode,
): boolean {
  const bound = new Map<string, ElementType>();
  const fits = (kinds: readonly string[], types: Types) =>
    types.every((type, i) => {
      const kind = kinds[i] ?? kinds.at(-1);
      if (type === null) return true;
      if (kind === undefined) return false;
      if (/^[a-z]/.test(kind) && kernel.types[kind] === undefined) return kind === type;
      const before = bound.get(kind);
      bound.set(kind, type);
      return (before ?? type) === type && kernel.types[kind]?.split(" ").includes(type) === true;
    });
  return fits(form.in, node.inputs) && fits(form.out.slice(0, 1), [node.output]);
}
