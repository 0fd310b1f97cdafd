import { ProtobufWriter } from "./protobuf.ts";

/** `TensorProto.DataType`. Source: onnx.proto, ONNX 1.23. */
const elementType = {
  f32: 1,
  u8: 2,
  i8: 3,
  i32: 6,
  i64: 7,
  bool: 9,
  f16: 10,
  f64: 11,
  bf16: 16,
  f8e4m3: 17,
  f8e5m2: 19,
} as const;

export type ElementType = keyof typeof elementType;

/** A dimension: fixed, or a name for one that is known at run time. */
export type Dim = number | string;

export type Attribute =
  | number
  | string
  | readonly number[]
  | { readonly float: number }
  | { readonly element: ElementType };

/** Attribute kinds in `AttributeProto.AttributeType`. */
const attributeKind = { float: 1, int: 2, string: 3, ints: 7 } as const;

/** Where the values of a tensor lie: below the folder that the session is given. */
interface FileRange {
  readonly location: string;
  readonly offset: number;
  readonly byteLength: number;
  readonly shape: readonly number[];
}

export function nodeProto(
  type: string,
  domain: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Readonly<Record<string, Attribute>>,
): ProtobufWriter {
  const node = new ProtobufWriter();
  for (const input of inputs) node.string(1, input);
  for (const output of outputs) node.string(2, output);
  node.string(3, outputs[0] ?? type).string(4, type);
  for (const [name, value] of Object.entries(attributes)) node.message(5, attribute(name, value));
  if (domain !== "") node.string(7, domain);
  return node;
}

function attribute(name: string, value: Attribute): ProtobufWriter {
  const proto = new ProtobufWriter().string(1, name);
  if (typeof value === "number") return proto.int(3, value).int(20, attributeKind.int);
  if (typeof value === "string") {
    return proto.string(4, value).int(20, attributeKind.string);
  }
  if ("float" in value) return proto.float(2, value.float).int(20, attributeKind.float);
  if ("element" in value) {
    return proto.int(3, elementType[value.element]).int(20, attributeKind.int);
  }
  for (const item of value) proto.int(8, item);
  return proto.int(20, attributeKind.ints);
}

export function tensorHeader(
  name: string,
  type: ElementType,
  shape: readonly number[],
): ProtobufWriter {
  const proto = new ProtobufWriter();
  for (const dim of shape) proto.int(1, dim);
  return proto.int(2, elementType[type]).string(8, name);
}

export function externalTensor(
  name: string,
  type: ElementType,
  { location, offset, byteLength, shape }: FileRange,
): ProtobufWriter {
  const proto = tensorHeader(name, type, shape);
  const entries = {
    location,
    offset: String(offset),
    length: String(byteLength),
  };
  for (const [key, value] of Object.entries(entries)) {
    proto.message(13, new ProtobufWriter().string(1, key).string(2, value));
  }
  return proto.int(14, 1);
}

export function valueInfo(name: string, type: ElementType, shape: readonly Dim[]): ProtobufWriter {
  const shapeProto = new ProtobufWriter();
  for (const dim of shape) {
    const proto = new ProtobufWriter();
    if (typeof dim === "number") proto.int(1, dim);
    else proto.string(2, dim);
    shapeProto.message(1, proto);
  }
  const tensorType = new ProtobufWriter().int(1, elementType[type]).message(2, shapeProto);
  return new ProtobufWriter()
    .string(1, name)
    .message(2, new ProtobufWriter().message(1, tensorType));
}
