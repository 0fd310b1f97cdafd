import { expect, test } from "vitest";
import { ProtobufWriter } from "./protobuf.ts";

// The bytes are those of the encoding guide's own examples.
test("varints, strings and nested messages are written as the encoding guide shows", () => {
  const inner = new ProtobufWriter().int(1, 150);
  expect([...inner.finish()]).toEqual([0x08, 0x96, 0x01]);
  expect([...new ProtobufWriter().string(2, "testing").finish()]).toEqual([
    0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67,
  ]);
  expect([...new ProtobufWriter().message(3, inner).finish()]).toEqual([0x1a, 3, 0x08, 0x96, 0x01]);
});

test("a negative int64 takes ten bytes", () => {
  expect([...new ProtobufWriter().int(1, -2).finish()]).toEqual([
    0x08, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
  ]);
});
