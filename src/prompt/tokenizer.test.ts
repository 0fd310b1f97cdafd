import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { goldenFolder, readGolden } from "../../test/golden.ts";
import { encodePrompt } from "./encode-prompt.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { loadTokenizer } from "./tokenizer.ts";

interface TokensGolden {
  raw: { text: string; ids: number[] }[];
  marks: { text: string; ids: number[] }[];
  templated: { prompt: string; ids: number[] }[];
}

/** Ids of Hugging Face's own tokenizers and chat template, written by reference/goldens.py. */
const { raw, marks, templated } = readGolden<TokensGolden>("tokens.json");

// The real one, cut down to what the goldens need: reference/golden_tokenizer.py.
const qwen3Folder = join(goldenFolder, "qwen3-tokenizer");
const source = { repository: "owner/name", model: "zimage" };
let qwen3: Tokenizer;
let scratch: string;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), "retake-tokenizer-"));
  const unpacked = join(scratch, "qwen3");
  cpSync(qwen3Folder, unpacked, { recursive: true });
  const packed = readFileSync(join(qwen3Folder, "tokenizer.json.gz"));
  writeFileSync(join(unpacked, "tokenizer.json"), gunzipSync(packed));
  qwen3 = await loadTokenizer(unpacked, source);
});
afterAll(() => rmSync(scratch, { recursive: true }));

test("1,000 varied lines get the ids that Hugging Face's tokenizers give", () => {
  expect(raw.length).toBe(1000);
  for (const { text, ids } of raw) expect(qwen3.encode(text), JSON.stringify(text)).toEqual(ids);
});

test("marks that are newer than the reference's Unicode stay where they are", () => {
  expect(marks.length).toBe(193);
  for (const { text, ids } of marks) expect(qwen3.encode(text), JSON.stringify(text)).toEqual(ids);
});

test("prompts get the ids of the pipeline's chat template, cut to 512", () => {
  for (const { prompt, ids } of templated) {
    expect(encodePrompt(qwen3, prompt).inputIds, JSON.stringify(prompt)).toEqual(ids);
  }
});

test("what is cut off a long prompt is told, and nothing else", () => {
  const { inputIds, cutText } = encodePrompt(qwen3, `${"fox ".repeat(600)}owl`);
  expect(inputIds.length).toBe(512);
  expect(cutText).toMatch(/^( fox)+ owl$/);
  expect(encodePrompt(qwen3, "a fox").cutText).toBeNull();
});

test("a damaged or foreign tokenizer is refused by its file's name", async () => {
  const folder = join(goldenFolder, "tiny/store/Tongyi-MAI/Z-Image-Turbo/tokenizer");
  cpSync(folder, scratch, { recursive: true });
  writeFileSync(join(scratch, "tokenizer.json"), "{");
  await expect(loadTokenizer(scratch, source)).rejects.toThrow(
    /tokenizer\.json can't be read as JSON/,
  );
  await expect(loadTokenizer(join(scratch, "none"), source)).rejects.toThrow(
    /tokenizer\.json can't be read/,
  );
});
