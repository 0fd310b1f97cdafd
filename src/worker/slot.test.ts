import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { jobOf, prompt, workerIn } from "../../test/worker-jobs.ts";
import type { JobEvent } from "../job/job.ts";
import { JobError } from "../job/job.ts";
import type { WorkerSlot } from "./slot.ts";

const never = new AbortController().signal;
const folder = mkdtempSync(join(tmpdir(), "retake-slot-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("a picture that was announced stays, and the reason is the true one, when", () => {
  /** Fails a job of a small picture and a large one in the large one's first step. */
  async function failInStep(
    own: WorkerSlot,
    { signal = never, during }: { signal?: AbortSignal; during: (pid: number) => void },
  ) {
    const large = { width: 1024, height: 1024, steps: 8 };
    const job = jobOf([prompt(), prompt(large)]);
    let announced = 0;
    const onEvent = (event: JobEvent) => {
      if (event.type === "image") announced++;
      if (event.type === "progress" && event.promptIndex === 1 && event.step === 1)
        during(own.pid!);
    };
    const failed = await own.run(job, [], { signal, onEvent }).catch((error) => error);
    expect(failed).toBeInstanceOf(JobError);
    expect(announced).toBe(1);
    expect(failed.failure.images).toHaveLength(1);
    expect(failed.failure.images[0].promptIndex).toBe(0);
    return failed as JobError;
  }

  test("the system kills the process", async () => {
    const lines: string[] = [];
    const own = workerIn(folder, {}, {}, lines);
    const failed = await failInStep(own, { during: (pid) => process.kill(pid, "SIGKILL") });
    expect(failed).toMatchObject({ retryable: true, failure: { code: "WORKER_DIED" } });
    expect(failed.message).toMatch(/cpu was ended by SIGKILL, not by this server: .*memory/);
    const next = await own.run(jobOf([prompt()]), [], { signal: never, onEvent: () => {} });
    expect(next.images).toHaveLength(1);
    expect(lines).toEqual([failed.message]);
    await own.stop();
  });

  test("a step outlasts the patience after a cancel", async () => {
    const lines: string[] = [];
    const own = workerIn(folder, {}, { graceMs: 1, firstGraceMs: 1 }, lines);
    const stop = new AbortController();
    // Suspended, it is at its step for as long as anybody waits.
    const failed = await failInStep(own, {
      signal: stop.signal,
      during(pid) {
        process.kill(pid, "SIGSTOP");
        stop.abort("canceled");
      },
    });
    expect(failed.message).toMatch(
      /^The server ended the worker on cpu: its run was told to stop \(canceled\), and its step did not end within \d+ seconds\.$/,
    );
    expect(lines).toEqual([failed.message]);
    await own.stop();
  });

  test("it shows no sign of life", async () => {
    const own = workerIn(folder, {}, { hangMs: 4000, watchMs: 50 });
    const failed = await failInStep(own, { during: (pid) => process.kill(pid, "SIGSTOP") });
    expect(failed).toMatchObject({ retryable: true });
    expect(failed.message).toMatch(
      /^The server ended the worker on cpu: it showed no sign of life/,
    );
    await own.stop();
  });
});

test("a cancel in a step that is longer than the grace ends with the step, and the process goes on", async () => {
  // As 30 seconds are to ten.
  const graceMs = 20;
  const own = workerIn(folder, {}, { graceMs });
  const stop = new AbortController();
  let steps = 0;
  let stepMs = 0;
  const onEvent = (event: JobEvent) => {
    if (event.type !== "progress") return;
    steps++;
    if (steps === 1) stepMs = -performance.now();
    if (steps !== 2) return;
    // Into the middle of the third step, whose like were timed.
    stepMs += performance.now();
    setTimeout(() => stop.abort("canceled"), stepMs / 2);
  };
  const job = jobOf([prompt({ width: 1024, height: 1024, steps: 8 })]);
  const failed = await own.run(job, [], { signal: stop.signal, onEvent }).catch((error) => error);
  expect(failed.failure).toMatchObject({ code: "CANCELED", images: [] });
  expect(stepMs).toBeGreaterThan(graceMs);
  expect(steps).toBeLessThan(8);
  const { pid } = own;
  await own.run(jobOf([prompt()]), [], { signal: never, onEvent: () => {} });
  expect(own.pid).toBe(pid);
  await own.stop();
});

describe("a process that can't be used ends, and the next job gets another", () => {
  const run = { signal: never, onEvent: () => {} };
  const realNode = process.execPath;
  afterEach(() => {
    process.execPath = realNode;
  });

  // A start that fails as it does without memory or a process to spare: by an event, or by an exception.
  test.each([
    ["by an event", "/nowhere/node"],
    ["by an exception", "/nowhere\0/node"],
  ])("it can't be started, told %s", async (_, node) => {
    const own = workerIn(folder);
    process.execPath = node;
    for (const _ of [1, 2]) {
      const failed = await own.run(jobOf([prompt()]), [], run).catch((error) => error);
      expect(failed).toMatchObject({ retryable: true, failure: { code: "WORKER_DIED" } });
      expect(failed.message).toMatch(/^The worker on cpu could not be started: /);
      expect(failed.message).not.toContain("/nowhere");
    }
    process.execPath = realNode;
    expect((await own.run(jobOf([prompt()]), [], run)).images).toHaveLength(1);
    await own.stop();
  });

  test("it says what is no message", async () => {
    const own = workerIn(folder);
    const babbler = join(folder, "babbler");
    writeFileSync(
      babbler,
      `#!/bin/sh\necho '{"type":"nonsense"}' >&$NODE_CHANNEL_FD\nexec sleep 60\n`,
    );
    chmodSync(babbler, 0o755);
    process.execPath = babbler;
    const failed = own.run(jobOf([prompt()]), [], run);
    await expect(failed).rejects.toThrow(
      /^The server ended the worker on cpu: it sent what is no message/,
    );
    process.execPath = realNode;
    expect((await own.run(jobOf([prompt()]), [], run)).images).toHaveLength(1);
    await own.stop();
  });

  test("it says that its device failed: the run may be tried again, in another process", async () => {
    const lines: string[] = [];
    const own = workerIn(folder, {}, {}, lines);
    const unlucky = join(folder, "unlucky");
    const failure = { code: "DEVICE_LOST", message: "reset", promptIndex: 0, images: [] };
    writeFileSync(
      unlucky,
      `#!/bin/sh
      echo '{"type":"ready"}' >&$NODE_CHANNEL_FD
      read start <&$NODE_CHANNEL_FD
      read run <&$NODE_CHANNEL_FD
      echo '${JSON.stringify({ type: "failure", failure })}' >&$NODE_CHANNEL_FD
      exec sleep 60\n`,
    );
    chmodSync(unlucky, 0o755);
    process.execPath = unlucky;
    const failed = await own.run(jobOf([prompt()]), [], run).catch((error) => error);
    expect(failed).toMatchObject({ retryable: true, failure });
    process.execPath = realNode;
    expect((await own.run(jobOf([prompt()]), [], run)).images).toHaveLength(1);
    expect(lines).toEqual([
      "The server ended the worker on cpu: its device failed in the middle of a run.",
    ]);
    await own.stop();
  });

  test("what it says can't be used", async () => {
    const own = workerIn(folder);
    const onEvent = () => {
      throw new Error("no room for events");
    };
    const failed = own.run(jobOf([prompt()]), [], { ...run, onEvent });
    await expect(failed).rejects.toThrow(/what it sent could not be used: no room for events/);
    expect((await own.run(jobOf([prompt()]), [], run)).images).toHaveLength(1);
    await own.stop();
  });
});

test("a preview that can't be written is dropped with one line in the log; no message names a folder", async () => {
  const out = join(folder, "comes-and-goes");
  const lines: string[] = [];
  const own = workerIn(out, {}, {}, lines);
  const previews: number[] = [];
  const job = jobOf([prompt({ steps: 12, width: 128, height: 128 })], { previewEvery: 1 });
  const onEvent = (event: JobEvent) => {
    if (event.type === "preview") previews.push(event.step);
    if (event.type !== "progress") return;
    if (event.step === 2) rmSync(out, { recursive: true, force: true });
    if (event.step === event.total - 1) mkdirSync(out, { recursive: true });
  };
  const { images } = await own.run(job, [], { signal: never, onEvent });
  expect(images).toHaveLength(1);
  expect(previews.length).toBeLessThan(9);
  expect(lines).toEqual(["a preview was dropped"]);

  rmSync(out, { recursive: true });
  const failed = await own
    .run(jobOf([prompt()]), [], { signal: never, onEvent: () => {} })
    .catch((error) => error);
  expect(failed.failure.code).toBe("OUTPUT_NOT_WRITTEN");
  expect(failed.message).not.toContain(folder);
  await own.stop();
});
