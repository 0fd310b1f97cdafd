import { expect, test } from "vitest";
import type { JobFolder } from "./job-folder.ts";
import type { PreviewFile } from "./preview-files.ts";
import { erasOfRounds, loraOfStep } from "./runs.ts";
import type { TrainedLora } from "./trained-loras.ts";

/** Rounds of one picture each: step, seconds, and whether it has a thumbnail. */
type Round = readonly [step: number, seconds: number, thumbnail?: true];

function job(
  rounds: readonly Round[],
  versions: Readonly<Record<number, string | null>>,
): JobFolder {
  const previews = rounds.map(
    ([step, seconds, thumbnail], round): PreviewFile => ({
      ...{ file: `samples/${round}.jpg`, path: `/${round}.jpg`, savedAt: seconds * 1000, step },
      ...{ index: 0, format: "jpg", set: "sample", round, hasThumbnail: thumbnail === true },
    }),
  );
  const loras = Object.entries(versions).map(([step, version]) =>
    lora(`job_${step.padStart(9, "0")}.safetensors`, Number(step), version),
  );
  // Nothing else of a job is looked at.
  return { name: "job", previews, loras } as unknown as JobFolder;
}

function lora(file: string, step: number, version: string | null): TrainedLora {
  return {
    ...{ file, path: `/${file}`, step, trainer: "ai-toolkit", trainerVersion: version },
    ...{ dtypes: ["F32"], unusable: null, triggerWords: [] },
  } as TrainedLora;
}

const versionsOf = (folder: JobFolder) => erasOfRounds(folder).map(({ versions }) => versions);

test("a LoRA tells the version of its step's pictures, and of those that nothing lies between", () => {
  const folder = job(
    [
      [0, 0],
      [100, 60],
      [200, 120],
      [300, 180],
    ],
    { 200: "0.7.25" },
  );
  expect(versionsOf(folder)).toEqual([["0.7.25"], ["0.7.25"], ["0.7.25"], ["0.7.25"]]);
  expect(erasOfRounds(folder)[3]!.reason).toContain("the LoRA of step 200 was saved by 0.7.25");
});

test("between two versions the longest pause is where the trainer was started again", () => {
  const rounds: Round[] = [
    [100, 0],
    [200, 60],
    [300, 120],
    [400, 9000],
    [500, 9060],
  ];
  expect(versionsOf(job(rounds, { 100: "0.7.25", 500: "0.12.26" }))).toEqual([
    ["0.7.25"],
    ["0.7.25", "0.12.26"],
    ["0.7.25", "0.12.26"],
    ["0.12.26", "0.7.25"],
    ["0.12.26"],
  ]);
});

test("a thumbnail tells which side of 0.11.1 drew a picture, against its neighbours in time", () => {
  const rounds: Round[] = [
    [100, 0],
    [200, 60, true],
    [300, 9000, true],
  ];
  expect(versionsOf(job(rounds, { 100: "0.7.25", 300: "0.12.26" }))[1]).toEqual([
    "0.12.26",
    "0.7.25",
  ]);
  // All that is left is of a new version, and step 0 was drawn by an old one.
  const old = job(
    [
      [0, 0],
      [100, 60, true],
    ],
    { 100: "0.12.26" },
  );
  expect(versionsOf(old)[0]).toEqual([null, "0.12.26"]);
  expect(erasOfRounds(old)[0]!.reason).toContain("it has no thumbnail while others have");
});

test("of two rounds at one step the later stands beside the LoRA", () => {
  const rounds: Round[] = [
    [100, 0],
    [200, 60],
    [200, 9000],
  ];
  expect(versionsOf(job(rounds, { 100: "0.7.25", 200: "0.12.26" }))).toEqual([
    ["0.7.25"],
    ["0.7.25", "0.12.26"],
    ["0.12.26"],
  ]);
});

test("without any version every era is open, but for what thumbnails tell", () => {
  expect(versionsOf(job([[0, 0]], {}))).toEqual([[null]]);
  expect(versionsOf(job([[100, 0]], { 100: null }))).toEqual([[null]]);
  const both: Round[] = [
    [100, 0],
    [200, 60, true],
  ];
  expect(versionsOf(job(both, {}))).toEqual([[null], ["0.11.1"]]);
});

test("of two LoRAs of a step the trainer's own name counts, whole before damaged", () => {
  const folder = job([], {});
  const loras = [
    lora("other.safetensors", 5, null),
    { ...lora("job_000000005.safetensors", 5, null), unusable: "cut" },
    lora("job.safetensors", 5, null),
  ];
  expect(loraOfStep({ ...folder, loras }, 5)!.file).toBe("job.safetensors");
  expect(loraOfStep({ ...folder, loras: loras.slice(0, 2) }, 5)!.file).toBe("other.safetensors");
  expect(loraOfStep({ ...folder, loras }, 6)).toBeNull();
});

test("a training of tens of thousands of rounds is read in one go", () => {
  const rounds = Array.from({ length: 50_000 }, (_, i): Round => [i, i < 30_000 ? i : i + 1000]);
  const eras = versionsOf(job(rounds, { 0: "0.7.25", 49999: "0.10.25" }));
  expect(eras).toHaveLength(50_000);
  expect(eras[29_999]).toEqual(["0.7.25", "0.10.25"]);
  expect(eras[30_000]).toEqual(["0.10.25", "0.7.25"]);
});
