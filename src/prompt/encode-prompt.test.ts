import { expect, test } from "vitest";
import { applyTrigger } from "./encode-prompt.ts";

test("every [trigger] is replaced, to the letter", () => {
  expect(applyTrigger("[trigger] and [trigger], not [Trigger]", "$& ohwx")).toBe(
    "$& ohwx and $& ohwx, not [Trigger]",
  );
});

test("without a word the placeholder stays", () => {
  expect(applyTrigger("a [trigger]", undefined)).toBe("a [trigger]");
  expect(applyTrigger("a [trigger]", "")).toBe("a [trigger]");
});
