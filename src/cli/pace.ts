import type { GenerateOptions } from "../pipeline/generate.ts";

type Stage = Parameters<NonNullable<GenerateOptions["onStage"]>>[0];

/** Who waits less needs no words. */
const longMs = 10_000;

/**
 * Tells of a run that takes long: before the first step how long it took to get there and about how long
 * the steps may take, and after it how long the others will take at most: the first one also reads weights
 * and brings them in order. Of short runs nothing is said.
 */
export class Pace {
  readonly #say: (line: string) => void;
  readonly #beganAt = performance.now();
  #stepAt: number | undefined;

  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  /** @param seconds that all steps may take; null: that is not known */
  expect(seconds: number | null, steps: number): void {
    const ms = (seconds ?? 0) * 1000;
    if (ms >= longMs)
      this.#say(`about ${duration(ms)} for ${steps} steps, by one product timed here`);
  }

  begin(stage: Stage): void {
    if (stage !== "step" || this.#stepAt !== undefined) return;
    this.#stepAt = performance.now();
    const passed = this.#stepAt - this.#beganAt;
    if (passed >= longMs) {
      this.#say(`ready after ${duration(passed)}`);
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
