import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { demoWeights } from "../src/paths.ts";
import { goldenFolder } from "./golden.ts";
import { startRetake } from "./retake-process.ts";
import { jobFolders } from "./truth-picture.ts";

// `retake generate --as-trained`, as a person types it.

const job = join(jobFolders, "e2-q8ad");
const config = join(job, "config.yaml");
let home: string;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "retake-as-trained-"));
});
afterAll(() => rmSync(home, { recursive: true }));

function generate(...more: string[]) {
  const small = ["--width", "64", "--height", "64", "--steps", "2", "--guidance", "1"];
  const args = ["generate", "--prompt", "zorple a red circle on blue", ...small, "--json", ...more];
  return startRetake([...args, "--out", "a.png"], {
    cwd: home,
    env: { RETAKE_CACHE: join(home, "cache"), HF_HOME: join(home, "hf") },
  }).ended;
}
const adapter = "ostris/zimage_turbo_training_adapter/zimage_turbo_training_adapter_v2.safetensors";
const turbo = ["--model", "zimage_turbo"];
const lora = ["--lora", join(job, "e2-q8ad.safetensors")];

async function roundedBy(...more: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await generate(...more);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout).as_trained;
}

test("alone: as the trainer's page sets jobs up, in the version of the LoRA's trainer", async () => {
  expect(await roundedBy(...turbo, ...lora, "--as-trained")).toEqual({
    dtype: "bf16",
    transformer: "torchao",
    text_encoder: "quanto",
    embedders: true,
    training_adapter: "zimage_turbo_training_adapter_v2.safetensors",
  });
  expect(await roundedBy("--as-trained")).toEqual({
    dtype: "bf16",
    transformer: "quanto",
    text_encoder: "quanto",
    embedders: false,
    training_adapter: null,
  });
});

test("rounded weights can be held in another storage", async () => {
  for (const storage of ["f16", "int8"]) {
    const { code, stdout, stderr } = await generate("--as-trained", "--storage", storage);
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ storage, as_trained: { transformer: "quanto" } });
  }
});

test("with a job's configuration: what that job rounded", async () => {
  expect(await roundedBy(...turbo, ...lora, "--as-trained", config)).toMatchObject({
    transformer: "torchao",
    embedders: true,
  });
  const wrong = await generate("--model", "zimage", "--as-trained", config);
  expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining("--model zimage_turbo") });
  const float32 = join(jobFolders, "mix", "config.yaml");
  const unrounded = await generate("--model", "zimage", "--as-trained", float32);
  expect(unrounded.code).toBe(2);
  expect(unrounded.stderr).toMatch(/because the job ran in float32, unquantised/);
});

test("what can't be done is refused by name", async () => {
  const cases: [string[], RegExp][] = [
    [["--training-adapter", "a.safetensors"], /with --as-trained alone/],
    [["--as-trained", join(home, "none.yaml")], /none\.yaml/],
    [[...turbo, "--as-trained", "--training-adapter", config], /config\.yaml is not a whole/],
  ];
  const store = ["--weights", join(goldenFolder, "tiny/store")];
  cases.push([
    [...turbo, ...store, "--as-trained"],
    /adapter_v2\.safetensors is not in .*retake pull/,
  ]);
  for (const [args, reason] of cases) {
    const { code, stdout, stderr } = await generate(...args);
    expect({ code, stdout }, args.join(" ")).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(reason);
  }
});

test("a configuration that asks for what is not copied is refused with the reason", async () => {
  const own = join(home, "convrot4.yaml");
  const process = { type: "diffusion_trainer", train: { dtype: "bf16" } };
  const model = {
    name_or_path: "Tongyi-MAI/Z-Image",
    arch: "zimage",
    quantize: true,
    qtype: "convrot4",
  };
  writeFileSync(
    own,
    JSON.stringify({ job: "extension", config: { name: "a", process: [{ ...process, model }] } }),
  );
  const { code, stderr } = await generate("--model", "zimage", "--as-trained", own);
  expect({ code, stderr }).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("qtype convrot4"),
  });
});

test("retake preview takes an adapter that is given by hand, and says where one was looked for", async () => {
  const store = join(home, "store");
  mkdirSync(store);
  symlinkSync(join(demoWeights, "Tongyi-MAI"), join(store, "Tongyi-MAI"));
  const preview = (...more: string[]) =>
    startRetake(
      ["preview", job, "--step", "0", "--sample", "0", "--weights", store, "--json", ...more],
      { cwd: home, env: { RETAKE_CACHE: join(home, "cache"), HF_HOME: join(home, "hf") } },
    ).ended;
  const { samples: without } = JSON.parse((await preview("--report", "without")).stdout);
  expect(without[0]).toMatchObject({ verdict: "not reproducible" });
  expect(without[0].reason).toMatch(/adapter_v2\.safetensors is not in .*retake pull zimage_turbo/);
  const own = join(home, "own.safetensors");
  copyFileSync(join(demoWeights, adapter), own);
  const given = await preview("--report", "given", "--training-adapter", own);
  expect(JSON.parse(given.stdout).samples[0]).toMatchObject({
    verdict: "close",
    as_trained: { transformer: "torchao", training_adapter: "own.safetensors" },
  });
});
