import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { decodeImage } from "../src/image/decode-image.ts";
import type { Report } from "../src/wire/report.ts";
import { startRetake } from "./retake-process.ts";
import { jobFolders, pixelsFromTruth } from "./truth-picture.ts";

let home: string;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "retake-preview-"));
});
afterAll(() => rmSync(home, { recursive: true }));

const start = (...args: string[]) => startRetake(["preview", ...args], { cwd: home });
const preview = (...args: string[]) => start(...args).ended;

function reportIn(folder: string): Report {
  return JSON.parse(readFileSync(join(home, folder, "report.json"), "utf8"));
}

/** A job that may be spoiled. */
function copyOf(job: string, name: string): string {
  const copy = join(home, name);
  cpSync(join(jobFolders, job), copy, { recursive: true });
  return copy;
}

function previewsOf(job: string): string[] {
  return readdirSync(join(job, "samples"))
    .filter((name) => !name.startsWith("."))
    .toSorted();
}

test("takes a job's previews again with nothing but its folder, and goes on with what is there", async () => {
  const { code, stdout, stderr } = await preview(join(jobFolders, "mix"));
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toContain("mix: 10 previews: 8 equal, 2 not reproducible\n");
  expect(stdout).toContain("not reproducible: step 4: sample 0, 1. The LoRA of step 4 is not");
  expect(existsSync(join(home, "retake-mix", "report.html"))).toBe(true);
  const { samples, finished, trainer_versions } = reportIn("retake-mix");
  expect({ finished, trainer_versions }).toEqual({
    finished: true,
    trainer_versions: ["0.12.26", "0.7.25"],
  });
  for (const { preview: file, picture, verdict, step } of samples) {
    if (verdict === "not reproducible") continue;
    const path = join(home, "retake-mix", picture!);
    const { max } = await pixelsFromTruth(
      "mix",
      file!,
      await decodeImage(readFileSync(path), path),
    );
    expect(max, `step ${step}`).toBeLessThanOrEqual(1);
  }

  const writtenAt = () =>
    samples.flatMap(({ picture }) =>
      picture === null ? [] : statSync(join(home, "retake-mix", picture)).mtimeMs,
    );
  const before = writtenAt();
  const again = await preview(join(jobFolders, "mix"));
  expect(again.stdout).toBe(stdout);
  expect(writtenAt()).toEqual(before);
});

test("a version that held several behaviours is told by trying", async () => {
  const { stdout } = await preview(join(jobFolders, "e5a-deturbo"));
  expect(stdout).toContain("e5a-deturbo: 6 previews: 6 equal\n");
  const { samples } = reportIn("retake-e5a-deturbo");
  expect(new Set(samples.map(({ era }) => era))).toEqual(new Set(["preview-0.10.25"]));
  expect(samples[0]!.why.era).toMatch(/0\.10\.24; tried on step 0, sample \d, .*comes nearest/);
});

test("--limit keeps what is done, --step and --sample choose, and the same command goes on", async () => {
  const args = [
    join(jobFolders, "e2-first"),
    "--report",
    "first",
    "--step",
    "2,4",
    "--sample",
    "1",
  ];
  const { code, stdout } = await preview(...args, "--limit", "0.000001");
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: expect.stringContaining("2 previews: 2 not drawn\n"),
  });
  expect(reportIn("first")).toMatchObject({ finished: false, samples: [] });
  expect((await preview(...args)).stdout).toContain("2 previews: 2 equal\n");
  expect(reportIn("first").samples.map(({ step, index }) => [step, index])).toEqual([
    [2, 1],
    [4, 1],
  ]);
});

test("Ctrl-C keeps the pictures that are done, writes their report, and a second run draws the rest", async () => {
  const { child, ended } = start(join(jobFolders, "e5b-odd"));
  const taken = join(home, "retake-e5b-odd", "taken.jsonl");
  await vi.waitUntil(() => existsSync(taken) && statSync(taken).size > 0, { timeout: 60_000 });
  child.kill("SIGINT");
  expect((await ended).code).toBe(130);
  const stopped = reportIn("retake-e5b-odd");
  expect(stopped.finished).toBe(false);
  const done = stopped.samples.filter(({ picture }) => picture !== null);
  expect(done.length).toBeGreaterThan(0);
  expect(done.length).toBeLessThan(9);
  const { code, stdout } = await preview(join(jobFolders, "e5b-odd"));
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: expect.stringContaining("12 previews: 9 equal, 3 not reproducible\n"),
  });
});

test("one preview, or one LoRA with a configuration, is enough", async () => {
  const job = join(jobFolders, "mix");
  const one = previewsOf(job).find((name) => name.includes("000000008_1"))!;
  const single = await preview(join(job, "samples", one), "--report", "single", "--json");
  expect(JSON.parse(single.stdout)).toMatchObject({
    samples: [{ preview: `samples/${one}`, verdict: "equal" }],
    summary: { previews: 1 },
  });
  const lora = join(home, "alone.safetensors");
  cpSync(join(job, "mix.safetensors"), lora);
  const beside = await preview(lora, "--config", join(job, "config.yaml"), "--report", "beside");
  expect(beside.stdout).toContain("2 previews: 2 equal\n");
  const config = join(home, "alone.yaml");
  cpSync(join(job, "config.yaml"), config);
  const { stdout } = await preview(lora, "--config", config, "--report", "alone");
  expect(stdout).toContain("2 previews: 2 without a preview\n");
  expect(reportIn("alone").samples.map(({ step, verdict }) => [step, verdict])).toEqual([
    [8, "no preview"],
    [8, "no preview"],
  ]);
});

test("what is wrong with one picture stops no other", async () => {
  const job = copyOf("mix", "spoiled");
  const [first] = previewsOf(job);
  truncateSync(join(job, "samples", first!), 900);
  truncateSync(join(job, "mix_000000006.safetensors"), 5000);
  const { code, stdout } = await preview(job, "--report", "spoiled-report");
  expect(code).toBe(0);
  expect(stdout).toContain("10 previews: 5 equal, 5 not reproducible\n");
  expect(stdout).toContain(`samples/${first} can't be decoded: it is cut off or damaged`);
  expect(stdout).toContain("mix_000000006.safetensors is not a whole safetensors file: its header");
  expect(stdout).not.toContain(home);
});

test("a difference is named with what explains it, the same when it is asked for again", async () => {
  const args = [join(jobFolders, "e2-first"), "--era", "0.10.25", "--report", "wrong"];
  const { stdout } = await preview(...args);
  expect(stdout).toMatch(/Likely era: .*\(--era 0\.7\.25\)/);
  const { samples, summary } = reportIn("wrong");
  // Sizes that are multiples of 32 leave it open which of two eras it was: the LoRA's own is likelier.
  expect(summary.cause).toMatchObject({ factor: "era", value: "preview-0.7.25" });
  const different = samples.filter(({ verdict }) => verdict === "different");
  expect(summary.cause!.explained).toBe(different.length);
  expect(different.length).toBeGreaterThan(0);
  for (const { causes } of different) expect(causes[0]).toMatchObject({ factor: "era" });
  expect((await preview(...args)).stdout).toBe(stdout);
});

test.each([
  [["--era", "1"], 'era 1: "1" is not a version of ai-toolkit'],
  [["--step", "3"], "step 3: the job has no previews of it. There are 0; 2; 4; 6; 8."],
  [["--sample", "x"], '"x" is not a whole number'],
  [["--sample", "-1"], '"-1" is not a whole number from 0 on'],
  [["--limit", "0"], "is not above 0 seconds"],
  [["--config", "nowhere.yaml"], "nowhere.yaml can't be opened"],
])("%o is refused", async (more, message) => {
  const { code, stderr } = await preview(join(jobFolders, "mix"), ...more);
  expect(code).toBe(2);
  expect(stderr).toContain(message);
});

test("what is no job is told from a folder of several, in plain words", async () => {
  const missing = await preview(join(home, "nothere"));
  expect(missing.code).toBe(2);
  expect(missing.stderr).toContain(
    "nothere can't be opened: there is no such file or folder. Name",
  );
  expect(missing.stderr).not.toMatch(/ENOENT|realpath/);
  const several = await preview(jobFolders);
  expect(several.code).toBe(2);
  expect(several.stderr).toMatch(/is no job, it holds some\. Name one of them: .*e2-first; .*mix/);
});

test.skipIf(!existsSync("/proc/self"))("a report's folder that can't be made ends it", async () => {
  const args = [join(jobFolders, "mix"), "--step", "0", "--sample", "0", "--report", "/proc/none"];
  const { code, stderr } = await preview(...args);
  expect(code).toBe(2);
  expect(stderr).toContain("/proc/none can't be written");
});

test("a training adapter that would act nowhere is refused", async () => {
  const unused = await preview(join(jobFolders, "mix"), "--training-adapter", "nowhere");
  expect(unused).toMatchObject({ code: 2, stderr: expect.stringContaining("trained without one") });
  const turbo = copyOf("mix", "turbo");
  const config = join(turbo, "config.yaml");
  const text = readFileSync(config, "utf8");
  writeFileSync(config, text.replace("  model:\n", "  model:\n      assistant_lora_path: a/b/c\n"));
  const missing = await preview(turbo, "--training-adapter", "nowhere");
  expect(missing).toMatchObject({ code: 2, stderr: expect.stringContaining("nowhere can't be") });
});

test("a round with more pictures than the configuration has samples was drawn with another one", async () => {
  const job = copyOf("mix", "resumed");
  const [, second] = readFileSync(join(job, "config.yaml"), "utf8").split(
    "      - prompt: '[trigger]",
  );
  const config = readFileSync(join(job, "config.yaml"), "utf8").replace(
    `      - prompt: '[trigger]${second}`,
    "      - prompt: another one\nmeta: {}\n",
  );
  writeFileSync(join(job, "config.yaml"), config);
  const { stdout } = await preview(job, "--step", "8", "--report", "resumed-report");
  expect(stdout).toContain("2 previews: 2 not reproducible\n");
  expect(stdout).toContain("Its round has pictures of 2 samples, more than the configuration");
  const [drawn, beyond] = reportIn("resumed-report").samples;
  expect(drawn).toMatchObject({ verdict: "not reproducible", causes: [] });
  expect(drawn!.picture).not.toBeNull();
  expect(beyond).toMatchObject({ verdict: "not reproducible", picture: null });
});

test("a job of 400 samples is searched by its first ones", async () => {
  const job = copyOf("e2-first", "large");
  const config = readFileSync(join(job, "config.yaml"), "utf8");
  const more = Array.from({ length: 400 }, (_, i) => `      - prompt: more ${i}\n`).join("");
  const longer = config.replace("    first_sample:\n", `${more}    first_sample:\n`);
  writeFileSync(join(job, "config.yaml"), longer);
  const args = ["--era", "0.10.25", "--step", "4", "--report", "large-report"];
  const { stdout } = await preview(job, ...args);
  expect(stdout).toMatch(/e2-first: 2 previews: 2 different\n.*Likely era: /);
});
