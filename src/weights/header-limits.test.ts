import { expect, test } from "vitest";
import { beyondLimits } from "./header-limits.ts";

const limits = { tensors: 3, bytes: 300 };
const tensor = { dtype: "F32", shape: [1, 2], data_offsets: [0, 8] };
const beyond = (json: unknown) =>
  beyondLimits(Buffer.from(typeof json === "string" ? json : JSON.stringify(json)), limits);

test("tensors are counted, metadata is not", () => {
  const three = { a: tensor, b: tensor, c: tensor };
  expect(beyond(three)).toBeUndefined();
  expect(beyond({ ...three, __metadata__: { d: "x", e: "y" } })).toBeUndefined();
  expect(beyond({ ...three, d: tensor })).toBe("4 tensors, and 3 is the most");
  // A key by its escaped letters is a tensor's, as are names that hold quotes and braces.
  expect(beyond({ ...three, '"},{"__metadata__': tensor })).toMatch(/^4 tensors/);
  expect(beyond(JSON.stringify({ ...three, x: {} }).replace('"x"', '"\\u0078"'))).toMatch(/^4/);
});

test("only what is not metadata has a bound in bytes", () => {
  const long = 'tag \\"}, '.repeat(1000);
  expect(beyond({ a: tensor, __metadata__: { tags: long } })).toBeUndefined();
  expect(beyond({ __metadata__: { tags: long }, a: tensor })).toBeUndefined();
  expect(beyond({ ["a".repeat(400)]: tensor })).toMatch(
    /^4\d\d bytes besides its metadata, and 300/,
  );
  expect(beyond(`{"a" :1${" ".repeat(400)}}`)).toMatch(/bytes besides/);
  expect(beyond({ metadata: { tags: long } })).toMatch(/bytes besides/);
});

test("nothing is nested deeper than a shape, and any bytes have an end", () => {
  expect(beyond({ a: { shape: [[1]] } })).toMatch(/nested deeper/);
  expect(beyond({ __metadata__: { a: [[]] } })).toMatch(/nested deeper/);
  for (const text of ["", '"', '{"a', '{"a"', "}}}}", '{"__metadata__"', '{"\\'])
    expect(beyond(text)).toBeUndefined();
});
