import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { TargetFormat } from "../src/lora/convert.ts";
import { convertLora } from "../src/lora/convert.ts";
import { readLora } from "../src/lora/file.ts";
import { expectGolden, fileOf, releasePipelines, run } from "./golden-loras.ts";

const folder = mkdtempSync(join(tmpdir(), "retake-convert-"));
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await releasePipelines();
});

const outOf = (name: string, to: TargetFormat) =>
  join(folder, to === "peft" ? `${name}-${to}` : `${name}-${to}.safetensors`);

// The golden is what the reference makes of the file before it was converted.
const possible: [string, TargetFormat[]][] = [
  ["ai-toolkit", ["diffusers", "kohya", "peft"]],
  ["ai-toolkit-alpha", ["ai-toolkit", "diffusers", "kohya", "peft"]],
  ["diffusers-config", ["ai-toolkit", "diffusers", "kohya", "peft"]],
  ["diffusers-bias", ["diffusers", "peft"]],
  ["diffusers-dora", ["ai-toolkit", "diffusers", "peft"]],
  ["kohya-fused", ["ai-toolkit", "diffusers", "kohya", "peft"]],
  ["comfyui", ["ai-toolkit", "diffusers", "kohya", "peft"]],
  ["peft", ["ai-toolkit", "diffusers", "kohya", "peft"]],
  ["dora", ["ai-toolkit", "diffusers", "peft"]],
  ["lokr", ["ai-toolkit", "kohya"]],
  ["lycoris-lokr", ["ai-toolkit", "kohya"]],
  ["lycoris-loha", ["ai-toolkit", "kohya"]],
  ["lycoris-dora", ["kohya"]],
  ["full", ["ai-toolkit", "kohya"]],
  ["full-rank", ["ai-toolkit", "kohya"]],
  ["lora-bias", ["diffusers", "peft"]],
  ["comfyui-trained", ["ai-toolkit", "kohya"]],
];
describe.each(possible)("%s", (name, targets) => {
  test.each(targets)("as %s makes the same picture", async (to) => {
    const out = outOf(name, to);
    await convertLora(fileOf(name), to, out);
    // PEFT multiplies by alpha/rank, where diffusers rounds it into a bf16 file's matrices.
    const widened = to === "peft" ? 5e-3 : 0;
    for (const multiplier of [-1, 0.5, 1]) {
      await expectGolden(`${name}@${multiplier}`, await run([{ path: out, multiplier }]), widened);
    }
  });
});

test("a LoRA without alpha goes to diffusers and back byte for byte", async () => {
  const there = join(folder, "there.safetensors");
  const back = join(folder, "back.safetensors");
  const original = await readLora(fileOf("ai-toolkit"));
  await convertLora(fileOf("ai-toolkit"), "diffusers", there);
  await convertLora(there, "ai-toolkit", back);
  const again = await readLora(back);
  expect([...again.modules.keys()]).toEqual([...original.modules.keys()]);
  const bytes = (file: string, span: { offset: number; byteLength: number }) =>
    readFileSync(file).subarray(span.offset, span.offset + span.byteLength);
  for (const [name, { delta }] of original.modules) {
    const own = again.modules.get(name)!.delta;
    if (delta?.kind !== "lora" || own?.kind !== "lora") throw new Error("not a LoRA");
    expect(bytes(back, own.loraA).equals(bytes(original.file, delta.loraA))).toBe(true);
    expect(bytes(back, own.loraB).equals(bytes(original.file, delta.loraB))).toBe(true);
  }
});

test.each([
  ["lokr", "diffusers", /is a LoKr, and Retake writes LoRA and DoRA there/],
  ["lokr-fused", "ai-toolkit", /stand for q, k and v together/],
  ["lycoris-dora", "ai-toolkit", /dora_scale follows LyCORIS's rule/],
  ["dora", "kohya", /magnitude follows another rule/],
  ["diffusers-bias", "kohya", /it has biases/],
  ["full", "diffusers", /whole changes of weights or biases .* neither PEFT nor diffusers loads/],
  ["comfyui-trained", "peft", /whole changes of weights or biases/],
] as const)("%s can't be written as %s, and nothing is left", async (name, to, reason) => {
  const before = readdirSync(folder);
  const out = join(folder, "refused.safetensors");
  await expect(convertLora(fileOf(name), to, out)).rejects.toThrow(reason);
  expect(readdirSync(folder)).toEqual(before);
});

test("a folder of the user's with a similar name is left alone, whether it goes well or not", async () => {
  const out = join(folder, "mine");
  mkdirSync(`${out}.tmp`);
  writeFileSync(join(`${out}.tmp`, "thesis.txt"), "years of work");
  await convertLora(fileOf("ai-toolkit"), "peft", out);
  // What is there is not written over.
  const again = convertLora(fileOf("ai-toolkit"), "peft", out);
  await expect(again).rejects.toThrow(/mine exists\. Name a file that doesn't/);
  expect(readFileSync(join(`${out}.tmp`, "thesis.txt"), "utf8")).toBe("years of work");
  expect(readdirSync(folder).filter((name) => name.startsWith("."))).toEqual([]);
});
