import { rmSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { profiles } from "../src/models/profiles.ts";
import type { JobFolder } from "../src/preview/job-folder.ts";
import { readJobFolder } from "../src/preview/job-folder.ts";
import type { PlannedSample, Reading } from "../src/preview/plan.ts";
import { planRetakes } from "../src/preview/plan.ts";
import type { PlannedJob } from "./planned-job.ts";
import { plannedJob, plannedJobs, writePlannedJob } from "./planned-job.ts";

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

async function folderOf(job: PlannedJob): Promise<JobFolder> {
  const folder = await writePlannedJob(job);
  folders.push(folder);
  return readJobFolder(folder);
}

type Truth = PlannedJob["truth"][number];

/** What a request comes to, in the words of the truth. */
function handedOn({ profile, request }: Reading): Omit<Truth, "file" | "multiplier"> {
  const { schedule, divisor, guidance } = profiles[profile];
  const width = request.width!;
  const height = request.height!;
  const steps = request.steps!;
  const guidanceScale = request.guidanceScale!;
  return {
    prompt: request.prompt,
    negative: request.negativePrompt!,
    width: width - (width % divisor),
    height: height - (height % divisor),
    steps,
    updates: schedule === "pin" ? Math.max(1, steps - 1) : steps,
    seed: Number(request.seed),
    guidance: guidanceScale,
    handed: guidance === "g" ? guidanceScale : Math.max(0, guidanceScale - 1),
  };
}

/** Pictures that are planned otherwise than the trainer's pipeline was handed, and why that is right. */
const others: Readonly<Record<string, (truth: Truth) => Truth>> = {
  // The embeddings that it drew were made before training, and without the trigger word.
  "e5-cachete": (truth) => ({
    ...truth,
    prompt: truth.prompt.replace("zorple", "[trigger]"),
    negative: truth.negative.replace("zorple", "[trigger]"),
  }),
};

function nameOf({ preview }: PlannedSample): string {
  return preview!.file.replace("samples/", "");
}

describe.each(plannedJobs)("%s", (name) => {
  test("plans every picture as the trainer drew it", async () => {
    const job = plannedJob(name);
    const { samples } = planRetakes(await folderOf(job));
    expect(samples.map(nameOf).toSorted()).toEqual(job.truth.map(({ file }) => file).toSorted());
    for (const sample of samples) {
      if (sample.request === null) continue;
      const truth = job.truth.find(({ file }) => file === nameOf(sample))!;
      const { file: _, multiplier, ...wanted } = others[name]?.(truth) ?? truth;
      // A version that holds several behaviours has the right one among them, first or not.
      const [first, ...more] = sample.candidates.map(handedOn);
      expect([first, ...more], `${sample.step} ${sample.index}`).toContainEqual(wanted);
      if (more.length === 0) expect(first).toEqual(wanted);
      const [lora] = sample.request.loras ?? [];
      expect(lora?.multiplier ?? 0).toBe(sample.step === 0 ? 0 : multiplier);
    }
  });
});

async function planned(name: string): Promise<readonly PlannedSample[]> {
  return planRetakes(await folderOf(plannedJob(name))).samples;
}

test("says of each picture that can't be taken again why", async () => {
  const reasons = async (name: string) =>
    (await planned(name)).flatMap(({ step, index, reason }) =>
      reason === null ? [] : [`${step} ${index} ${reason}`],
    );
  const lost = "is not in the folder: those of step 3, 4, 5 are left";
  expect(await reasons("e2-ui")).toEqual(
    [1, 2].flatMap((step) =>
      [0, 1, 2, 3].map((index) => `${step} ${index} the LoRA of step ${step} ${lost}`),
    ),
  );
  expect(await reasons("e5b-odd")).toEqual(
    [0, 2, 4].map((step) => expect.stringContaining(`${step} 0 its seed is -1`)),
  );
  expect(await reasons("e1-flags")).toEqual([]);
});

test("takes each picture's era from the LoRA of its step, and of its neighbours in time where it has none", async () => {
  const eras = new Map((await planned("mix")).map(({ step, profile }) => [step, profile]));
  expect([...eras]).toEqual([
    [0, "preview-0.7.25"],
    [2, "preview-0.7.25"],
    [4, "preview-0.7.25"],
    [6, "preview-0.10.25"],
    [8, "preview-0.10.25"],
  ]);
  const reasons = new Map(
    (await planned("mix")).map(({ step, profileReason }) => [step, profileReason]),
  );
  expect(reasons.get(2)).toBe("its LoRA mix_000000002.safetensors was saved by ai-toolkit 0.7.25");
  expect(reasons.get(4)).toContain("in time it stands with step 2");
});

test("leaves open what a version does not tell: 0.9.14 and 0.10.24 hold several behaviours", async () => {
  const ways = async (name: string) => [
    ...new Set(
      (await planned(name)).map(({ candidates }) =>
        candidates.map(({ profile }) => profile).join(),
      ),
    ),
  ];
  expect(await ways("e3-flags")).toEqual(["preview-0.9.14,preview-0.7.25"]);
  expect(await ways("e5a-deturbo")).toEqual(["preview-0.10.21,preview-0.10.25"]);
  expect(await ways("e5-flags")).toEqual(["preview-0.10.25"]);
});

test("the first set of step 0 is of first_sample", async () => {
  const sets = (await planned("e2-first")).map(({ step, index, set }) => `${step} ${index} ${set}`);
  expect(sets.filter((one) => one.startsWith("0"))).toEqual([
    "0 0 first_sample",
    "0 1 first_sample",
    "0 2 first_sample",
    "0 0 sample",
    "0 1 sample",
  ]);
});

test("expects of a picture what its training allows", async () => {
  const of = async (name: string) => [
    ...new Set((await planned(name)).map(({ step, expected }) => `${step > 0} ${expected}`)),
  ];
  expect(await of("e1-flags")).toEqual(["false exact", "true exact"]);
  expect(await of("e1b-deturbo")).toEqual(["false exact", "true rounded-lora"]);
  expect(await of("e1-leak")).toEqual(["false bf16", "true bf16"]);
  expect(await of("e2-ui")).toEqual(["false quantised", "true quantised"]);
});

test("LoKr keeps the training adapter until 0.10.24, and DoRA measures with it", async () => {
  const name = "ostris/zimage_turbo_training_adapter/zimage_turbo_training_adapter_v2.safetensors";
  const lorasOf = async (job: string, type: string, more = (config: string) => config) => {
    const planned = plannedJob(job);
    const config = more(planned.config.replace("type: lora", `type: ${type}`));
    const { samples } = planRetakes(await folderOf({ ...planned, config }));
    return [0, 5].map((step) =>
      samples
        .find((sample) => sample.step === step)!
        .request!.loras!.map(({ path, multiplier }) => [
          path === name ? "adapter" : "own",
          multiplier,
        ]),
    );
  };
  // 0.9.14, quantised, so nothing is merged.
  expect(await lorasOf("e3-ui", "lora")).toEqual([[], [["own", 1]]]);
  expect(await lorasOf("e3-ui", "lokr")).toEqual([
    [["adapter", 1]],
    [
      ["own", 1],
      ["adapter", 1],
    ],
  ]);
  // The weights that were rounded with the adapter have its share of the lengths.
  expect(await lorasOf("e3-ui", "dora")).toEqual([[], [["own", 1]]]);
  // Weights that are merged with the network lose the adapter as they should.
  const unquantised = (config: string) =>
    config.replaceAll(/quantize(_te)?: true/g, "quantize$1: false");
  expect(await lorasOf("e3-ui", "lokr", unquantised)).toEqual([[], [["own", 1]]]);
  expect(await lorasOf("e3-ui", "dora", unquantised)).toEqual([
    [],
    [
      ["adapter", 1],
      ["own", 1],
      ["adapter", -1],
    ],
  ]);
});
