import { Presets, SingleBar } from "cli-progress";

/** A progress bar with the time left on a terminal; silent in a pipe. */
export function startProgress(): {
  onStep(progress: { step: number; total: number }): void;
  stop(): void;
} {
  if (!process.stderr.isTTY) return { onStep: () => {}, stop: () => {} };
  const bar = new SingleBar(
    {
      stream: process.stderr,
      format: "{bar} step {value}/{total}, {eta_formatted} left",
      hideCursor: true,
      clearOnComplete: true,
    },
    Presets.shades_classic,
  );
  let started = false;
  return {
    onStep({ step, total }) {
      if (!started) bar.start(total, 0);
      started = true;
      bar.update(step);
    },
    stop() {
      if (started) bar.stop();
    },
  };
}
