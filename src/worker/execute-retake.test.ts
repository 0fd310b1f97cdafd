import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { jobFolders } from "../../test/job-folders.ts";
import { retakeJobFor } from "../../test/test-queue.ts";
import { workerIn } from "../../test/worker-jobs.ts";
import type { JobEvent, RetakeJob } from "../job/job.ts";
import { JobError } from "../job/job.ts";
import { reportFile } from "../job/report-files.ts";
import type { Report } from "../wire/report.ts";
import type { WorkerSlot } from "./slot.ts";

const never = new AbortController().signal;
let folder: string;
let results: string;
let worker: WorkerSlot;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-worker-"));
  results = join(folder, "results");
  worker = workerIn(results);
});
afterAll(async () => {
  await worker.stop();
  rmSync(folder, { recursive: true });
});

let works = 0;
/** A folder to make a report in, as each run gets one. */
function work(): string {
  const path = join(folder, `work-${works++}`);
  mkdirSync(path);
  return path;
}

const jobFolder = join(jobFolders, "e2-lokr");
const jobOf = (fields: Partial<RetakeJob> = {}) => retakeJobFor({ model: "zimage", ...fields });
const reportOf = (job: RetakeJob): Report =>
  JSON.parse(readFileSync(join(results, reportFile(job, "json")), "utf8"));

async function failureOf(run: Promise<unknown>) {
  const error = await run.catch((thrown: unknown) => thrown);
  if (!(error instanceof JobError)) throw error;
  return error.failure;
}

test("a successor of a worker that was killed draws no picture again", async () => {
  const job = jobOf();
  const first: JobEvent[] = [];
  const killed = worker.run(job, [jobFolder, work()], {
    signal: never,
    onEvent(event) {
      first.push(event);
      if (first.filter(({ type }) => type === "retake").length === 2)
        process.kill(worker.pid!, "SIGKILL");
    },
  });
  expect(await failureOf(killed)).toMatchObject({ code: "WORKER_DIED" });
  const before = reportOf(job);
  expect(before).toMatchObject({
    finished: false,
    summary: { waiting: 6 - before.samples.length },
  });

  // Killed again, before it has come so far.
  const again = worker.run(job, [jobFolder, work()], {
    signal: never,
    onEvent: ({ type }) => type === "retake" && process.kill(worker.pid!, "SIGKILL"),
  });
  expect(await failureOf(again)).toMatchObject({ code: "WORKER_DIED" });
  expect(reportOf(job).samples.length).toBeGreaterThanOrEqual(before.samples.length);

  const second: JobEvent[] = [];
  const run = { signal: never, onEvent: (event: JobEvent) => void second.push(event) };
  await worker.run(job, [jobFolder, work()], run);
  const drawn = second.flatMap((event) =>
    event.type === "progress" && event.step > 0 ? [event.promptIndex] : [],
  );
  expect(Math.min(...drawn)).toBeGreaterThanOrEqual(before.samples.length);
  expect(second.filter(({ type }) => type === "retake")).toHaveLength(6);
  expect(reportOf(job)).toMatchObject({ finished: true, summary: { equal: 6 } });
});

test("a cancel keeps what is done, and its page", async () => {
  const job = jobOf();
  const stop = new AbortController();
  const run = worker.run(job, [jobFolder, work()], {
    signal: stop.signal,
    onEvent: ({ type }) => type === "retake" && stop.abort("canceled"),
  });
  expect(await failureOf(run)).toMatchObject({ code: "CANCELED", page: true });
  const report = reportOf(job);
  expect(report.finished).toBe(false);
  expect(report.samples.length).toBeGreaterThan(0);
  expect(report.samples.length).toBeLessThan(6);
  expect(readFileSync(join(results, reportFile(job, "html")), "utf8")).toContain("e2-lokr");
});

test("no picture is begun after the limit, and the report says how many are missing", async () => {
  const job = jobOf({ limitSeconds: 0 });
  await worker.run(job, [jobFolder, work()], { signal: never, onEvent: () => {} });
  expect(reportOf(job)).toMatchObject({ finished: false, samples: [], summary: { waiting: 6 } });
});

test("the operator's bound of a picture holds for a job's samples", async () => {
  const own = workerIn(results, { pixelSteps: 1000 });
  const job = jobOf();
  await own.run(job, [jobFolder, work()], { signal: never, onEvent: () => {} });
  await own.stop();
  const { samples } = reportOf(job);
  expect(samples).toHaveLength(6);
  for (const { verdict, reason } of samples) {
    expect(verdict).toBe("not reproducible");
    expect(reason).toMatch(/160 x 128 pixels and \d steps, .* at most 1000/);
  }
});

test("weights that the operator has rounded are not drawn with", async () => {
  const own = workerIn(results, { storage: "int8", cacheFolder: join(folder, "rounded") });
  const job = jobOf({ options: { steps: [4] } });
  await own.run(job, [jobFolder, work()], { signal: never, onEvent: () => {} });
  await own.stop();
  expect(reportOf(job).summary).toMatchObject({ equal: 2 });
});

test("messages name a folder as the client did", async () => {
  const broken = join(folder, "secret-place");
  cpSync(jobFolder, broken, { recursive: true });
  writeFileSync(join(broken, "e2-lokr.safetensors"), "<!doctype html>");
  for (const name of readdirSync(join(broken, "samples")).slice(0, 2))
    writeFileSync(join(broken, "samples", name), "cut");
  const job = jobOf({ source: { from: "disk", folder: "cats/mine" } });
  await worker.run(job, [broken, work()], { signal: never, onEvent: () => {} });
  const text = readdirSync(results)
    .filter((name) => name.startsWith(job.id) && !name.endsWith(".png"))
    .map((name) => readFileSync(join(results, name), "latin1"))
    .join();
  expect(text).not.toContain("secret-place");
  expect(text).not.toContain(folder);
  const { samples } = reportOf(job);
  expect(samples.filter(({ reason }) => reason !== null)).not.toEqual([]);

  rmSync(join(broken, "config.yaml"));
  const failed = worker.run(jobOf({ source: job.source }), [broken, work()], {
    signal: never,
    onEvent: () => {},
  });
  const failure = await failureOf(failed);
  expect(failure.code).toBe("JOB_NOT_USABLE");
  expect(failure.message).toContain("cats/mine");
  expect(failure.message).not.toContain("secret-place");
});

test("a variable in a job's file is nothing of this machine's", async () => {
  const asking = join(folder, "asking");
  cpSync(jobFolder, asking, { recursive: true });
  const config = readFileSync(join(asking, "config.yaml"), "utf8");
  rmSync(join(asking, "config.yaml"));
  const { default: yaml } = await import("yaml");
  const parsed = yaml.parse(config.replaceAll("a red circle", `a $${"{PATH}"} circle`));
  writeFileSync(join(asking, ".job_config.json"), JSON.stringify(parsed));
  const job = jobOf({ options: { samples: [0], steps: [0] } });
  await worker.run(job, [asking, work()], { signal: never, onEvent: () => {} });
  const [sample] = reportOf(job).samples;
  expect(JSON.stringify(sample)).not.toContain(process.env.PATH!.split(":")[0]);
});
