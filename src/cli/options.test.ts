import { expect, test } from "vitest";
import { parseLoraOption } from "./options.ts";

test.each([
  ["a.safetensors", "a.safetensors", null],
  ["a.safetensors=-0.5", "a.safetensors", -0.5],
  ["hf:o/r", "hf:o/r", null],
  ["hf:o/r/a.safetensors@v1=0.8", "hf:o/r/a.safetensors@v1", 0.8],
  ["https://h/a.safetensors=0.8", "https://h/a.safetensors", 0.8],
  ["https://h/models/1?token=5", "https://h/models/1?token=5", null],
  ["HTTPS://h/models/1?type=Model&x=1", "HTTPS://h/models/1?type=Model&x=1", null],
  ["https://h/models/1?token=5#=0.8", "https://h/models/1?token=5#", 0.8],
])("%s", (value, path, multiplier) => {
  expect(parseLoraOption(value)).toEqual([{ path, multiplier }]);
  const first = { path: "first.safetensors", multiplier: 1 };
  expect(parseLoraOption(value, [first])).toEqual([first, { path, multiplier }]);
});
