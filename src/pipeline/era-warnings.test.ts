import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { trainedBy } from "../../test/lora-header.ts";
import type { GenerateInput } from "../job/request.ts";
import type { OpenPipeline } from "./open.ts";
import { openPipeline } from "./open.ts";

const zorple = readFileSync(
  fileURLToPath(new URL("../../demo/loras/zorple.safetensors", import.meta.url)),
);
let folder: string;
let pipeline: OpenPipeline;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-eras-"));
  pipeline = await openPipeline({ model: "zimage_turbo", weights: "demo" });
});
afterAll(async () => {
  await pipeline[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

/** What a picture with LoRAs of these versions is made in, and the warnings about it. */
async function draw(versions: readonly string[], request: Partial<GenerateInput>) {
  const loras = versions.map((version, i) => {
    const path = join(folder, `${i}-${version}.safetensors`);
    writeFileSync(path, trainedBy(zorple, version));
    return { path, multiplier: 0.5 };
  });
  const small = { prompt: "x", width: 64, height: 64, steps: 2, guidanceScale: 3 };
  const { parameters, warnings } = await pipeline.generate({ ...small, loras, ...request });
  return { parameters, warnings };
}

test("the era of the LoRA is taken, told and right: no warning", async () => {
  const { parameters, warnings } = await draw(["0.9.2"], { profile: "preview" });
  expect(parameters).toMatchObject({
    profile: "preview-0.7.25",
    profile_asked: "preview",
    profile_reason: "the LoRA was trained with ai-toolkit 0.9.2",
    standard_cfg: 4,
  });
  expect(warnings).toEqual([]);
});

test("the API's default says what it draws otherwise, and what to ask for", async () => {
  const { parameters, warnings } = await draw(["0.12.0"], { height: 80 });
  expect(parameters).toMatchObject({ profile: "reference", profile_reason: null, height: 64 });
  expect(warnings).toEqual([
    "the LoRA was trained with ai-toolkit 0.12.0, and this is not the picture that its previews " +
      "would have shown: size 64x80 instead of 64x64, updates 2 instead of 1, guidance weight 2 " +
      'instead of 3. Ask for profile preview-0.10.25 to get it: --profile preview-0.10.25, or "profile": ' +
      '"preview-0.10.25" in a request.',
  ]);
});

test.each<[string, string, Partial<GenerateInput>]>([
  ["one update is one update", "0.9.14", { steps: 1, profile: "diffusers" }],
  ["no guidance is none in either", "0.7.8", { guidanceScale: 0, profile: "reference" }],
  ["the size is a multiple of both", "0.9.20", { height: 96, profile: "reference" }],
  ["guidance below 0 is none", "0.10.22", { guidanceScale: -1, profile: "preview-0.9.14" }],
  ["either of two eras will do", "0.10.24", { profile: "preview-0.10.25" }],
])("names are not compared, pictures are: %s", async (_, version, request) => {
  expect((await draw([version], request)).warnings).toEqual([]);
});

test("guidance 1 ran in one era and not in the one before", async () => {
  const { warnings } = await draw(["0.7.8"], { guidanceScale: 1, profile: "reference" });
  expect(warnings).toEqual([expect.stringContaining("guidance weight none instead of 1")]);
});

test("a version with two eras: the other picture is named, where it is another", async () => {
  const unlike = await draw(["0.10.24"], { profile: "preview" });
  expect(unlike.parameters.profile).toBe("preview-0.10.21");
  expect(unlike.warnings).toEqual([
    expect.stringMatching(/0\.10\.24: .* updates 2 instead of 1\. .*--profile preview-0\.10\.25/),
  ]);
  const alike = await draw(["0.9.14"], { profile: "preview" });
  expect(alike.warnings).toEqual([]);
});

test("of two LoRAs the one with another era is named", async () => {
  const { warnings } = await draw(["0.12.0", "0.9.2"], { profile: "preview" });
  expect(warnings).toEqual([
    expect.stringMatching(/^LoRA 2 was .* 0\.9\.2, .*--profile preview-0\.7\.25/),
  ]);
});

test("numbers outside of the API's bounds, as a training preview may have them", async () => {
  const { parameters } = await draw(["0.12.0"], {
    profile: "preview",
    guidanceScale: 30,
    steps: 151,
    loras: [{ path: join(folder, "0-0.12.0.safetensors"), multiplier: -3.5 }],
  });
  expect(parameters).toMatchObject({ standard_cfg: 30, loras: [{ network_multiplier: -3.5 }] });
});
