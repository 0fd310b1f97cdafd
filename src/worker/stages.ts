import { generateStages } from "../pipeline/generate.ts";

/** What a run is at. */
export const stages = ["loading", ...generateStages, "saving"] as const;
export type Stage = (typeof stages)[number];

export interface Patience {
  /** A run that was told to stop may go on for so long at least. */
  readonly graceMs: number;
  /** And for so long while it is at something that was not timed yet, as a picture's first step. */
  readonly firstGraceMs: number;
}

/** What a run is at, and how long its pieces took. */
export class StageClock {
  #stage: Stage = "loading";
  #startedAt = performance.now();
  #longestMs = 0;
  /** The picture under way has done a step. */
  #stepTimed = false;

  get stage(): Stage {
    return this.#stage;
  }

  begin(stage: Stage): void {
    const now = performance.now();
    this.#longestMs = Math.max(this.#longestMs, now - this.#startedAt);
    this.#stepTimed = stage === "step" && (this.#stepTimed || this.#stage === "step");
    this.#stage = stage;
    this.#startedAt = now;
  }

  /**
   * How long a run that is told to stop now may go on, in milliseconds: what it
   * is at ends by itself, and an end by force costs a reload of the model.
   */
  patience({ graceMs, firstGraceMs }: Patience): number {
    const timed = this.#stage === "step" && this.#stepTimed;
    return Math.max(timed ? graceMs : firstGraceMs, 2 * this.#longestMs);
  }
}
