import { expect, test } from "vitest";
import { parseEnvFile } from "./env-file.ts";

test.each([
  ["A=1\nB = 2 \r\nexport C=3\n# D=4\n\nE=", { A: "1", B: "2", C: "3", E: "" }],
  ["A=a b # c\nB='x # y'\nC=`it's`", { A: "a b", B: "x # y", C: "it's" }],
  ['A="two\\nlines"\nB=\'a\\nb\'\nC="a\nb"', { A: "two\nlines", B: "a\\nb", C: "a\nb" }],
  ["A=1\nA=2\nOTHER: x\nnonsense", { A: "2" }],
  ["PORT='80' # why\nHF_TOKEN=a=b:c\nA=$HOME", { PORT: "80", HF_TOKEN: "a=b:c", A: "$HOME" }],
])("%j", (text, read) => expect(parseEnvFile(text, ".env")).toEqual(read));

test.each([
  ["PORT: 80", ".env: PORT is followed by a colon. Write PORT=value."],
  ["export retake_weights : /w", "retake_weights is followed by a colon"],
  ['RETAKE_SECRET="a\\"b"', "something follows the closing quote of RETAKE_SECRET"],
  ["A=1\n HOST='a'b", "something follows the closing quote of HOST"],
])("%j is not dropped without a word", (text, message) => {
  expect(() => parseEnvFile(text, ".env")).toThrow(message);
});
