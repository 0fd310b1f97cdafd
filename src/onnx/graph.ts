import type { Device } from "../config/model-options.ts";
import { InputError } from "../errors.ts";
import type { Dtype } from "../tensor/dtype.ts";
import type { ExternalPlace } from "./external.ts";
import { commonRoot, externalPlace } from "./external.ts";
import type { Attribute, Dim, ElementType } from "./model-proto.ts";
import { externalTensor, nodeProto, tensorHeader, valueInfo } from "./model-proto.ts";
import { ProtobufWriter } from "./protobuf.ts";
import type { Target } from "./target.ts";

const elementTypeOf: Partial<Record<Dtype, ElementType>> = {
  F32: "f32",
  F16: "f16",
  BF16: "bf16",
  F8_E4M3: "f8e4m3",
  F8_E5M2: "f8e5m2",
  U8: "u8",
};

/** The name of a tensor inside a graph. */
export type Value = string & { readonly __value: unique symbol };

/** Where one weight lies: a byte range of a file, as the header of that file gives it. */
export interface WeightSpan {
  readonly dtype: Dtype;
  /** What it is as a tensor, however it is stored. */
  readonly shape: readonly number[];
  /** Real, absolute path: links are resolved. */
  readonly file: string;
  readonly offset: number;
  readonly byteLength: number;
  /** Factor of the stored values: one for all, or one per row of a matrix [out]. */
  readonly scale?: WeightSpan;
  /** The bytes are whole numbers in blocks along the rows of a matrix; the dtype is U8 then. */
  readonly blocks?: BlockStorage;
}

/**
 * How a matrix [out, in] is stored in blocks: bytes [parts · out, count, size · bits / 8], where two
 * 4-bit numbers share a byte, the first in its lower half. A value is
 * `(number - 2^(bits - 1)) · scale - offset`.
 */
export interface BlockStorage {
  readonly bits: 4 | 8;
  /** Values in a block; `count` blocks cover a row of a part, the last of them perhaps in part. */
  readonly size: number;
  /** F32 [parts · out, count] */
  readonly scales: WeightSpan;
  /** F32 [out, count], of a matrix in one part; without it nothing is taken off. */
  readonly offsets?: WeightSpan;
  /** Into how many ranges of columns the matrix is cut; they lie one after another. */
  readonly parts: number;
  /**
   * The values are those of W·H/turn, H being `hadamard(turn)` on each so many columns: W x is the
   * stored matrix times H x. 1: nothing is turned.
   */
  readonly turn: number;
}

/** Looks a weight up by its name; throws InputError if it isn't there. */
export type WeightLookup = (name: string) => WeightSpan;

/** For a graph that has none. */
export function noWeights(name: string): never {
  throw new RangeError(`no weight ${name}: this graph has none`);
}

const irVersion = 11;

/** A weight that a graph takes as an input, since it lies on the device. */
export interface ResidentWeight {
  /** The input's, and the weight's in every graph of one network. */
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  /** Where its bytes are. */
  readonly span: WeightSpan;
}

/** A graph that the runtime can open. */
export interface Model {
  /** Of a `ModelProto`. */
  readonly bytes: Uint8Array;
  /** The file system's root below which its weights lie. */
  readonly weightsRoot: string;
  /** All its weights, where the target's are resident. */
  readonly resident: readonly ResidentWeight[];
  /** The runtime makes copies of matrices, in the order in which its integer products read them. */
  readonly packs: boolean;
}

/**
 * Collects one ONNX graph and writes it as a model file's bytes. Weights are
 * not part of those bytes: each stays a byte range of its original file.
 *
 * What is computed from weights alone comes first in the file. The runtime walks
 * backwards from the results, at each operator to the input that was written last, so it then
 * widens each weight right before the product that needs it. Written the other way round, all
 * are widened at the start and lie waiting: 13 GB of f32 copies for the real model.
 */
export class GraphBuilder {
  #nodes: ProtobufWriter[] = [];
  #weightNodes: ProtobufWriter[] = [];
  /** What no activation goes into: weights, constants and what is made of them. */
  #fixed = new Set<Value | "">([""]);
  #initializers: ProtobufWriter[] = [];
  #inputs = new Map<Value, ProtobufWriter>();
  #outputs: ProtobufWriter[] = [];
  #valueInfos: ProtobufWriter[] = [];
  #weights = new Map<string, Value>();
  #constants = new Map<string, Value>();
  #count = 0;
  readonly #places: ExternalPlace[] = [];
  readonly #resident: ResidentWeight[] = [];
  #packs = false;
  readonly #made = new Map<string, Value | Value[]>();
  readonly #name: string;
  readonly #lookup: WeightLookup;
  readonly target: Target;

  constructor(name: string, lookup: WeightLookup, target: Target) {
    this.#name = name;
    this.#lookup = lookup;
    this.target = target;
  }

  /** A tensor that each run is fed; the same for a name that was given before. */
  input(name: string, type: ElementType, shape: readonly Dim[]): Value {
    const value = name as Value;
    if (!this.#inputs.has(value)) this.#inputs.set(value, valueInfo(name, type, shape));
    return value;
  }

  /** An input that acts as a weight: an adapter's matrix. */
  fedWeight(name: string, type: ElementType, shape: readonly Dim[]): Value {
    const value = this.input(name, type, shape);
    this.#fixed.add(value);
    return value;
  }

  output(name: string, type: ElementType, shape: readonly Dim[], value: Value): void {
    this.#nodes.push(nodeProto("Identity", "", [value], [name], {}));
    this.#outputs.push(valueInfo(name, type, shape));
  }

  /** Tells shape inference what a contrib operator returns: it knows standard ones only. */
  declare(value: Value, type: ElementType, shape: readonly Dim[]): Value {
    this.#valueInfos.push(valueInfo(value, type, shape));
    return value;
  }

  /** How a weight is stored, by its name. */
  span(name: string): WeightSpan {
    return this.#lookup(name);
  }

  /** A weight by its name, as it is stored. */
  weight(name: string): { value: Value; type: ElementType; shape: readonly number[] } {
    return this.mapped(name, this.#lookup(name));
  }

  /** The bytes of a span under a name of their own; `shape` where it is not the span's. */
  mapped(
    name: string,
    span: WeightSpan,
    shape: readonly number[] = span.shape,
  ): { value: Value; type: ElementType; shape: readonly number[] } {
    const type = elementTypeOf[span.dtype];
    if (type === undefined) throw new RangeError(`weight ${name} is ${span.dtype}: not computed`);
    requireKernels(name, type, this.target);
    let value = this.#weights.get(name);
    if (value === undefined) {
      value = name as Value;
      this.#weights.set(name, value);
      this.#fixed.add(value);
      if (this.target.weights === "resident") {
        this.input(name, type, shape);
        this.#resident.push({ name, type, shape, span });
      } else {
        const place = externalPlace(span.file);
        this.#places.push(place);
        this.#initializers.push(externalTensor(name, type, { ...span, ...place, shape }));
      }
    }
    return { value, type, shape };
  }

  /** An int64 constant, most often a shape or a list of axes. */
  ints(values: readonly number[], shape: readonly number[] = [values.length]): Value {
    return this.#constant("i64", shape, new Uint8Array(BigInt64Array.from(values, BigInt).buffer));
  }

  floats(values: readonly number[], shape: readonly number[] = [values.length]): Value {
    return this.#constant("f32", shape, new Uint8Array(Float32Array.from(values).buffer));
  }

  bytes(values: readonly number[], shape: readonly number[] = [values.length]): Value {
    return this.#constant("u8", shape, Uint8Array.from(values));
  }

  #constant(type: ElementType, shape: readonly number[], raw: Uint8Array): Value {
    const key = `${type}[${shape}]${Buffer.from(raw).toString("base64")}`;
    const known = this.#constants.get(key);
    if (known !== undefined) return known;
    const name = `constant.${this.#constants.size}` as Value;
    this.#constants.set(key, name);
    this.#fixed.add(name);
    this.#initializers.push(tensorHeader(name, type, shape).bytes(9, raw));
    return name;
  }

  /** Adds one operator that has one result. An absent optional input is `""`. */
  op(
    type: string,
    inputs: readonly (Value | "")[],
    attributes: Readonly<Record<string, Attribute>> = {},
    domain: "" | "com.microsoft" = "",
  ): Value {
    const [value] = this.ops(type, inputs, 1, attributes, domain);
    return value!;
  }

  /** Adds one operator that has several results. */
  ops(
    type: string,
    inputs: readonly (Value | "")[],
    outputCount: number,
    attributes: Readonly<Record<string, Attribute>> = {},
    domain: "" | "com.microsoft" = "",
  ): Value[] {
    const outputs = Array.from({ length: outputCount }, () => `${type}.${this.#count++}` as Value);
    const node = nodeProto(type, domain, inputs, outputs, attributes);
    if (inputs.every((input) => this.#fixed.has(input))) {
      this.#weightNodes.push(node);
      for (const value of outputs) this.#fixed.add(value);
    } else {
      this.#nodes.push(node);
    }
    return outputs;
  }

  /** What was made under this key before, or now. */
  once<Made extends Value | Value[]>(key: string, make: () => Made): Made {
    const known = this.#made.get(key);
    if (known !== undefined) return known as Made; // a key names one kind of thing
    const value = make();
    this.#made.set(key, value);
    return value;
  }

  /** Says that an operator of this graph works on a copy of its matrix. */
  pack(): void {
    this.#packs = true;
  }

  /** @throws InputError if the weights lie on two drives */
  finish(): Model {
    const graph = new ProtobufWriter();
    for (const node of [...this.#weightNodes, ...this.#nodes]) graph.message(1, node);
    graph.string(2, this.#name);
    for (const initializer of this.#initializers) graph.message(5, initializer);
    for (const input of this.#inputs.values()) graph.message(11, input);
    for (const output of this.#outputs) graph.message(12, output);
    for (const info of this.#valueInfos) graph.message(13, info);
    const bytes = new ProtobufWriter()
      .int(1, irVersion)
      .string(2, "retake")
      .message(7, graph)
      .message(8, new ProtobufWriter().string(1, "").int(2, this.target.opset))
      .message(8, new ProtobufWriter().string(1, "com.microsoft").int(2, 1))
      .finish();
    return {
      bytes,
      weightsRoot: commonRoot(this.#places),
      resident: this.#resident,
      packs: this.#packs,
    };
  }
}

/** What weights can be on a device that hasn't kernels for all types; each step would widen others on the CPU. */
const heldTypes: Partial<Record<Device, readonly ElementType[]>> = {
  webgpu: ["f32", "f16", "u8"],
  dml: ["f32", "f16", "u8"],
};

/** @throws InputError if a device can't compute with weights of a type */
function requireKernels(name: string, type: ElementType, { device, f16 }: Target): void {
  const held = heldTypes[device] ?? [type];
  if (held.includes(type) && (type !== "f16" || f16)) return;
  throw new InputError(
    `weight ${name} is ${type}, which ${device} does not compute with: ` +
      `hold the weights as ${f16 ? "f16, " : ""}f32 or int8 (--storage, RETAKE_STORAGE).`,
  );
}
