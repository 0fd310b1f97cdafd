import type { GenerateOptions } from "../pipeline/generate.ts";

type Stage = Parameters<NonNullable<GenerateOptions["onStage"]>>[0];

/** Who waits less needs no words. */
const longMs = 10_000;

/**
 * Tells of a run that takes long: before the first step how long it took to get there, and after it how
 * long the others will take at most: the first one also reads weights and brings them in order. Nothing
 * is said that was not measured, and of short runs nothing at all.
 */
export class Pace {
  readonly #say: (line: string) => void;
  readonly #beganAt = performance.now();
  #stepAt: number | undefined;

  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  begin(stage: Stage): void {
    if (stage !== "step" || this.#stepAt !== undefined) return;
    this.#stepAt = performance.now();
    const passed = this.#stepAt - this.#beganAt;
    if (passed >= longMs) {
      this.#say(`ready after ${duration(passed)}: the first step tells how long the others take`);
    }
  }

  end(step: number, total: number): void {
    if (step !== 1 || this.#stepAt === undefined) return;
    const took = performance.now() - this.#stepAt;
    const left = took * (total - 1);
    if (left >= longMs) {
      this.#say(`step 1 of ${total} took ${duration(took)}: ${duration(left)} left at most`);
    }
  }
}

function duration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return seconds < 120 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}
