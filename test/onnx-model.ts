import type { ElementType } from "../src/onnx/model-proto.ts";

/** `TensorProto.DataType`, by number. Source: onnx.proto, ONNX 1.23. */
const elementTypes: Readonly<Record<number, ElementType>> = {
  1: "f32",
  2: "u8",
  3: "i8",
  6: "i32",
  7: "i64",
  9: "bool",
  10: "f16",
  11: "f64",
  16: "bf16",
  17: "f8e4m3",
  19: "f8e5m2",
};

/** What a check of kernels needs of an ONNX model's bytes: see onnx.proto, ONNX 1.23. */
export interface OnnxModel {
  readonly name: string;
  /** By domain; "" is ONNX's own. */
  readonly opsets: ReadonlyMap<string, number>;
  readonly nodes: readonly OnnxNode[];
  /** Of inputs and initializers. */
  readonly types: ReadonlyMap<string, ElementType>;
  readonly outputs: readonly string[];
}

export interface OnnxNode {
  readonly name: string;
  readonly operator: string;
  readonly domain: string;
  /** "" is an optional input that is not there. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Whole numbers among its attributes. */
  readonly numbers: ReadonlyMap<string, number>;
}

/** A message's fields by number: varints as numbers, everything else as bytes. */
class Message {
  readonly #fields = new Map<number, (number | Uint8Array)[]>();

  constructor(bytes: Uint8Array) {
    let at = 0;
    const varint = (): number => {
      let value = 0n;
      for (let shift = 0n; ; shift += 7n) {
        const byte = bytes[at++]!;
        value |= BigInt(byte & 0x7f) << shift;
        if (byte < 0x80) return Number(BigInt.asIntN(64, value));
      }
    };
    const take = (length: number) => {
      at += length;
      return bytes.subarray(at - length, at);
    };
    while (at < bytes.length) {
      const tag = varint();
      const wireType = tag & 7;
      const value = wireType === 0 ? varint() : take(wireType === 2 ? varint() : 4);
      const number = Math.floor(tag / 8);
      this.#fields.set(number, [...(this.#fields.get(number) ?? []), value]);
    }
  }

  number(field: number): number {
    return Number(this.#fields.get(field)?.[0] ?? 0);
  }

  texts(field: number): string[] {
    return this.#bytes(field).map((bytes) => new TextDecoder().decode(bytes));
  }

  text(field: number): string {
    return this.texts(field)[0] ?? "";
  }

  messages(field: number): Message[] {
    return this.#bytes(field).map((bytes) => new Message(bytes));
  }

  #bytes(field: number): Uint8Array[] {
    return (this.#fields.get(field) ?? []).map((value) => value as Uint8Array);
  }
}

export function readOnnxModel(bytes: Uint8Array): OnnxModel {
  const model = new Message(bytes);
  const [graph] = model.messages(7) as [Message];
  const types = new Map<string, ElementType>();
  for (const input of graph.messages(11)) {
    const tensor = input.messages(2)[0]!.messages(1)[0]!;
    types.set(input.text(1), elementTypeOf(tensor.number(1)));
  }
  for (const initializer of graph.messages(5))
    types.set(initializer.text(8), elementTypeOf(initializer.number(2)));
  return {
    name: graph.text(2),
    opsets: new Map(model.messages(8).map((opset) => [opset.text(1), opset.number(2)])),
    nodes: graph.messages(1).map(readNode),
    types,
    outputs: graph.messages(12).map((output) => output.text(1)),
  };
}

function readNode(node: Message): OnnxNode {
  const integers = node.messages(5).filter((attribute) => attribute.number(20) === 2);
  return {
    name: node.text(3),
    operator: node.text(4),
    domain: node.text(7),
    inputs: node.texts(1),
    outputs: node.texts(2),
    numbers: new Map(integers.map((attribute) => [attribute.text(1), attribute.number(3)])),
  };
}

export function elementTypeOf(code: number): ElementType {
  const found = elementTypes[code];
  if (found === undefined) throw new RangeError(`element type ${code} is unknown`);
  return found;
}
