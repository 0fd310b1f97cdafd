import { posix, win32 } from "node:path";
import { expect, test } from "vitest";
import { commonRoot, externalPlace } from "./external.ts";

test.each([
  ["/weights/a.safetensors", posix, "/", "weights/a.safetensors"],
  ["D:\\weights\\a.safetensors", win32, "D:\\", "weights\\a.safetensors"],
  ["\\\\nas\\models\\z\\a.safetensors", win32, "\\\\nas\\models\\", "z\\a.safetensors"],
])("%s is found below its own root", (file, system, root, location) => {
  expect(externalPlace(file, system.parse)).toEqual({ root, location });
});

test("weights on two drives are refused by name", () => {
  const places = ["D:\\store\\a", "C:\\cache\\b", "D:\\store\\c"].map((file) =>
    externalPlace(file, win32.parse),
  );
  expect(() => commonRoot(places)).toThrow(/lie on D: and on C:.*RETAKE_CACHE/);
  expect(commonRoot([places[0]!, places[2]!])).toBe("D:\\");
});
