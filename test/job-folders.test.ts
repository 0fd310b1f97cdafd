import { execFileSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { InputError } from "../src/errors.ts";
import { parseConfigText } from "../src/preview/config-text.ts";
import type { JobFolder } from "../src/preview/job-folder.ts";
import { readJobFolder } from "../src/preview/job-folder.ts";
import { planRetakes } from "../src/preview/plan.ts";
import { encodeHeader } from "../src/weights/write-safetensors.ts";
import { jobFolders } from "./truth-picture.ts";

let outside: string;
let folder: string;
beforeAll(() => {
  outside = mkdtempSync(join(tmpdir(), "jobs-"));
});
afterAll(() => rmSync(outside, { recursive: true }));
beforeEach(() => {
  folder = mkdtempSync(join(outside, "job-"));
  cpSync(join(jobFolders, "mix"), folder, { recursive: true });
});

async function refusal(read: Promise<unknown>): Promise<string> {
  const error = await read.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(InputError);
  return (error as InputError).message;
}

const config = () => readFileSync(join(folder, "config.yaml"), "utf8");
const writeConfig = (text: string) => writeFileSync(join(folder, "config.yaml"), text);
const requestsOf = (job: JobFolder) => planRetakes(job).samples.map(({ request }) => request);

test("without a configuration it says which files are looked for", async () => {
  unlinkSync(join(folder, "config.yaml"));
  expect(await refusal(readJobFolder(folder))).toContain(
    "has neither config.yaml nor .job_config.json",
  );
});

test.each([
  ["a: &a [*a]\n", "an alias in it leads back to itself"],
  ["config: &a\n  process: *a\n", "an alias in it leads back to itself"],
  [
    `a: &a [x, x]\n${Array.from({ length: 60 }, (_, i) => `b${i}: &b${i} [*${i === 0 ? "a" : `b${i - 1}`}, *${i === 0 ? "a" : `b${i - 1}`}]`).join("\n")}\n`,
    "alias",
  ],
  ["[".repeat(200_000), "nested too deeply"],
  [`${"{a: ".repeat(50_000)}1${"}".repeat(50_000)}`, "nested too deeply"],
  ["a: *nowhere\n", "nowhere"],
  ["job: [extension\nconfig: }\n", "line"],
  ["", "is not the configuration of an ai-toolkit job"],
  ["just a text", "is not the configuration of an ai-toolkit job"],
  ["config:\n  name: x\n  process: []\n", "config.process"],
  [
    "config:\n  name: x\n  process:\n  - type: t\n    sample: {samples: [text]}\n    model: {}\n",
    "sample",
  ],
  ["\u0000", "is not the configuration"],
])("a configuration that is none is answered at once: %#", async (text, message) => {
  writeConfig(text);
  const startedAt = performance.now();
  expect(await refusal(readJobFolder(folder))).toContain(message);
  // Far above what it takes, and far below what an alias bomb would.
  expect(performance.now() - startedAt).toBeLessThan(60_000);
});

test("text that is made to take hours is given up", () => {
  const text = `a: ${"1:".repeat(2 ** 20)}`;
  expect(() => parseConfigText(text, "config.yaml", 0.2)).toThrow("it takes more than 0.2 seconds");
});

test("a configuration of more than 4 MiB is not read", async () => {
  writeConfig(`${config()}\n#${"x".repeat(2 ** 22)}`);
  expect(await refusal(readJobFolder(folder))).toContain(
    "bytes, and a job's configuration at most",
  );
});

test("aliases as PyYAML writes them count as what they stand for", async () => {
  writeConfig(
    config().replace("      samples:\n", "      samples: &all\n") +
      "unused: {again: *all, twice: *all}\n",
  );
  expect(requestsOf(await readJobFolder(folder))).toEqual(
    requestsOf(await readJobFolder(join(jobFolders, "mix"))).map((request) =>
      request === null
        ? null
        : {
            ...request,
            loras: request.loras!.map((lora) => ({
              ...lora,
              path: lora.path.replace(join(jobFolders, "mix"), folder),
            })),
          },
    ),
  );
});

test("YAML is read as PyYAML reads it: y and n are texts, yes and 010 are not", async () => {
  writeConfig(
    config()
      .replace("trigger_word: zorple", "trigger_word: y")
      .replace("walk_seed: true", "walk_seed: yes")
      .replace("seed: 42", "seed: 0b101010")
      .replace("sample_steps: 5", "sample_steps: 011")
      .replace("neg: ''", "neg: n"),
  );
  const { samples } = planRetakes(await readJobFolder(folder));
  const { request } = samples.find(({ step, index }) => step === 8 && index === 1)!;
  expect(request).toMatchObject({ seed: 43n, steps: 9, negativePrompt: "n" });
  expect(samples[0]!.request!.prompt).toBe("y a red circle on blue");
});

// biome-ignore-start lint/suspicious/noTemplateCurlyInString: the trainer's placeholders
test("the UI's .job_config.json is enough: names and variables are filled in, but for secrets", async () => {
  unlinkSync(join(folder, "config.yaml"));
  const ui = {
    job: "extension",
    config: {
      name: "mix",
      process: [
        {
          type: "diffusion_trainer",
          trigger_word: "zorple",
          network: { type: "lora" },
          train: { dtype: "float32" },
          model: { name_or_path: "Tongyi-MAI/Z-Image", arch: "zimage" },
          sample: {
            seed: 1,
            samples: [{ prompt: "[name] by ${ARTIST}" }, { prompt: "${HF_TOKEN} on ${NOWHERE}" }],
          },
        },
      ],
    },
  };
  const text = JSON.stringify(ui).replace('"seed":1', '"seed":18446744073709551615');
  writeFileSync(join(folder, ".job_config.json"), text);
  const job = await readJobFolder(folder, {
    environment: { ARTIST: "a friend", HF_TOKEN: "hf_x" },
  });
  expect(job.configFile).toBe(".job_config.json");
  const [first, second] = planRetakes(job, { steps: [8] }).samples;
  expect(first!.request).toMatchObject({ prompt: "mix by a friend", seed: 2n ** 64n - 1n });
  expect(second).toMatchObject({
    request: null,
    reason: "its prompt takes ${HF_TOKEN} from the environment, where it is not set",
  });
});
// biome-ignore-end lint/suspicious/noTemplateCurlyInString: the trainer's placeholders

test("links out of the folder are not followed, and nothing behind them is read", async () => {
  const secret = join(outside, "elsewhere");
  mkdirSync(join(secret, "samples"), { recursive: true });
  renameSync(join(folder, "mix.safetensors"), join(secret, "mix.safetensors"));
  symlinkSync(join(secret, "mix.safetensors"), join(folder, "mix.safetensors"));
  const { loras, notes } = await readJobFolder(folder);
  expect(loras.map(({ file }) => file)).not.toContain("mix.safetensors");
  expect(notes).toContain("mix.safetensors leads out of the folder and was left out");

  const name = "1795600272244__000000000_0.jpg";
  renameSync(join(folder, "samples", name), join(secret, "samples", name));
  symlinkSync(join(secret, "samples", name), join(folder, "samples", name));
  const { previews } = await readJobFolder(folder);
  expect(previews.map(({ file }) => file)).not.toContain(`samples/${name}`);

  rmSync(join(folder, "samples"), { recursive: true });
  symlinkSync(join(secret, "samples"), join(folder, "samples"));
  expect((await readJobFolder(folder)).previews).toEqual([]);

  renameSync(join(folder, "config.yaml"), join(secret, "config.yaml"));
  symlinkSync(join(secret, "config.yaml"), join(folder, "config.yaml"));
  expect(await refusal(readJobFolder(folder))).toContain("has neither config.yaml");
});

test("pipes and folders with a picture's or a LoRA's name are not waited for", async () => {
  mkdirSync(join(folder, "samples", "1795600272999__000000000_0.jpg"));
  mkdirSync(join(folder, "mix_000000002.safetensors.d"));
  execFileSync("mkfifo", [join(folder, "samples", "1795600272998__000000000_1.jpg")]);
  execFileSync("mkfifo", [join(folder, "pipe.safetensors")]);
  const { previews, loras } = await readJobFolder(folder);
  expect(previews).toHaveLength(10);
  expect(loras.map(({ file, unusable }) => [file, unusable === null])).toEqual([
    ["mix.safetensors", true],
    ["mix_000000002.safetensors", true],
    ["mix_000000006.safetensors", true],
    ["pipe.safetensors", false],
  ]);
});

test("a LoRA of another model, and one that is cut, name the pictures that they are of", async () => {
  const other = "mix_000000002.safetensors";
  const header = encodeHeader(
    new Map([["lora_unet_input_blocks_1.lora_up.weight", { dtype: "F32", shape: [1, 1] }]]),
    {
      software: '{"name": "ai-toolkit", "version": "0.7.25"}',
      training_info: '{"step": 2, "epoch": 0}',
    },
  );
  writeFileSync(join(folder, other), Buffer.concat([header, new Uint8Array(4)]));
  truncateSync(join(folder, "mix_000000006.safetensors"), 9000);
  const { samples } = planRetakes(await readJobFolder(folder));
  const reasonAt = (step: number) => samples.find((sample) => sample.step === step)!.reason;
  expect(reasonAt(2)).toContain(`${other} can't be used as a LoRA`);
  expect(reasonAt(6)).toContain("mix_000000006.safetensors is not a whole safetensors file");
  expect(reasonAt(8)).toBeNull();
  // The header still tells the era of its neighbours.
  expect(samples[0]!.profile).toBe("preview-0.7.25");
});

test("a job of 10,000 samples and pictures is planned in seconds", async () => {
  const many = Array.from({ length: 10_000 }, (_, i) => `      - prompt: 'picture ${i} --d ${i}'`);
  const [before] = config().split("      - prompt:");
  writeConfig(`${before}${many.join("\n")}\n`);
  for (let i = 2; i < 10_000; i++) {
    writeFileSync(join(folder, "samples", `1795600300000__000000008_${i}.jpg`), "");
  }
  const startedAt = performance.now();
  const { samples } = planRetakes(await readJobFolder(folder));
  expect(samples).toHaveLength(10_008);
  expect(samples.at(-1)!.request).toMatchObject({ prompt: "picture 9999", seed: 9999n });
  expect(performance.now() - startedAt).toBeLessThan(60_000);
});

test("a model of another family is answered for the whole job", async () => {
  writeConfig(config().replace("arch: zimage", "arch: flux"));
  const job = await readJobFolder(folder);
  expect(() => planRetakes(job)).toThrow(/The job mix trained arch flux \(Z-Image\)/);
});

test.each([
  ["Tongyi-MAI/Z-Image-Turbo", "zimage", "zimage_turbo", null],
  ["/home/me/models/z_image_turbo_bf16.safetensors", "zimage", "zimage_turbo", "name"],
  ["/mnt/own-finetune", "zimage:deturbo", "zimage_deturbo", "arch"],
  ["D:\\models\\Z-Image", "zimage", "zimage", "name"],
])("name_or_path %s with arch %s is %s", async (path, arch, id, guess) => {
  writeConfig(
    config()
      .replace("name_or_path: Tongyi-MAI/Z-Image", `name_or_path: '${path}'`)
      .replace("arch: zimage", `arch: ${arch}`),
  );
  const { model } = planRetakes(await readJobFolder(folder));
  expect(model.id).toBe(id);
  if (guess === null) expect(model.guess).toBeNull();
  else expect(model.guess).toContain(guess);
});

test("networks that begin with more than nothing have no step 0 to show", async () => {
  const at = async (text: string) => {
    writeConfig(config().replace("type: lora\n", text));
    const { samples } = planRetakes(await readJobFolder(folder));
    return samples.map(({ step, reason }) => `${step} ${reason ?? "drawn"}`);
  };
  expect((await at("type: fullrank\n"))[0]).toMatch(/^0 a fullrank network begins with random/);
  writeConfig(config().replace("type: fullrank\n", "type: lora\n"));
  const before = "type: lora\n      pretrained_lora_path: /x.safetensors\n";
  expect((await at(before))[0]).toMatch(/^0 training began with another LoRA/);
});

test("a multiplier below 0 that all samples share spoils what follows the first trained round", async () => {
  const shared = (multipliers: readonly number[], more = (text: string) => text) => {
    const samples = multipliers.map(
      (m) => `      - prompt: a fox\n        network_multiplier: ${m}`,
    );
    const [before] = readFileSync(join(jobFolders, "mix", "config.yaml"), "utf8").split(
      "      - prompt:",
    );
    writeConfig(more(`${before}${samples.join("\n")}\n`));
  };
  const spoiled = async () =>
    planRetakes(await readJobFolder(folder)).samples.flatMap(({ step, index, reason }) =>
      reason?.includes("share the multiplier -0.5") === true ? [`${step} ${index}`] : [],
    );
  shared([-0.5, -0.5]);
  // Of step 4 the LoRA is gone, which is said first.
  expect(await spoiled()).toEqual(["6 0", "6 1", "8 0", "8 1"]);
  shared([-0.5, -0.6]);
  expect(await spoiled()).toEqual([]);
  shared([-0.5, -0.5], (text) => text.replace("type: lora", "type: dora"));
  expect(await spoiled()).toEqual([]);
  shared([-0.5, -0.5], (text) => text.replace("quantize: false", "quantize: true"));
  expect(await spoiled()).toEqual([]);
});
