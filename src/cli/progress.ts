import { Presets, SingleBar } from "cli-progress";

/** A progress bar with the time left on a terminal; silent in a pipe. It appears with the first update. */
export function startProgress(format: string): {
  update(done: number, total: number): void;
  stop(): void;
} {
  if (!process.stderr.isTTY) return { update: () => {}, stop: () => {} };
  const bar = new SingleBar(
    {
      stream: process.stderr,
      format,
      hideCursor: true,
      clearOnComplete: true,
    },
    Presets.shades_classic,
  );
  let started = false;
  return {
    update(done, total) {
      if (!started) bar.start(total, 0);
      started = true;
      bar.update(done);
    },
    stop() {
      if (started) bar.stop();
    },
  };
}

/** Bytes on their way. */
export interface ByteProgress {
  readonly received: number;
  readonly total: number;
}

const reportMs = 500;

/** A bar with speed and time left on a terminal; with `json` a line every half second on stdout; else silent. */
export function startByteProgress(json: boolean): {
  onProgress(progress: ByteProgress): void;
  stop(): void;
} {
  if (json) return jsonLines();
  if (!process.stderr.isTTY) return { onProgress: () => {}, stop: () => {} };
  const bar = new SingleBar(
    {
      stream: process.stderr,
      format: "{bar} {done} of {all} GB, {eta_formatted} left",
      hideCursor: true,
      clearOnComplete: true,
    },
    Presets.shades_classic,
  );
  let started = false;
  return {
    onProgress({ received, total }) {
      const words = { done: (received / 1e9).toFixed(2), all: (total / 1e9).toFixed(2) };
      if (!started) bar.start(total, received, words);
      started = true;
      bar.update(received, words);
    },
    stop() {
      if (started) bar.stop();
    },
  };
}

function jsonLines(): ReturnType<typeof startByteProgress> {
  let last = Number.NEGATIVE_INFINITY;
  return {
    onProgress(progress) {
      const now = performance.now();
      if (now - last < reportMs) return;
      last = now;
      process.stdout.write(`${JSON.stringify({ progress })}\n`);
    },
    stop() {},
  };
}
