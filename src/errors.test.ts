import { expect, test } from "vitest";
import { InputError } from "./errors.ts";

test("a message is one paragraph, whatever names it quotes", () => {
  const hostile = "tensor a\n\u001b[31mb\u202ec has no shape.";
  expect(new InputError(hostile).message).toBe("tensor a \\u{1b}[31mb\\u{202e}c has no shape.");
  const long = new InputError(`/models/x: tensor ${"z".repeat(1e6)}. Download it again.`).message;
  expect(long.length).toBeLessThan(2100);
  expect(long).toMatch(/^\/models\/x: tensor z.*z\. Download it again\.$/);
});

test("the cause is kept", () => {
  const cause = new Error("why");
  expect(new InputError("what", { cause }).cause).toBe(cause);
});
