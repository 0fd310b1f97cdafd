import type { Shot } from "./shot.ts";

/** A number of one picture, changed. */
export interface ValueChange {
  readonly factor: "guidance" | "steps" | "multiplier" | "size" | "negative_prompt" | "seed";
  readonly value: string;
  readonly sentence: string;
  /** Whether it is among the first to try. */
  readonly likely: boolean;
  readonly shot: Shot;
}

/** What the trainer's UI and its config files start from. */
const usualGuidance = [1, 3, 4, 7, 0, 5, 2, 3.5, 6, 8, 10, 1.5, 2.5, 4.5];
const usualSteps = [8, 9, 20, 25, 30, 28, 50, 40, 4, 5, 6, 10, 12, 15, 16, 24, 7, 3, 2, 1];
const usualMultipliers = [1, 0, 0.5, 0.8, 2, 1.5, 0.7, 0.6, 0.9, 1.2, 0.3, -1];

/** Beside the value that was used, as with an era's guidance or one update less. */
const beside = (value: number) => [value - 1, value + 1];

/** What people give single pictures. */
const usualOwnSeeds = [42, 0, 1, 7, 123, 1234, 12345, 99, 100, 1000, 1337, 777, 5, 2, 3].map(
  BigInt,
);

/**
 * Single numbers of a picture, the likely first.
 *
 * @param negatives other negative prompts of the job
 * @param seedsOfOthers of its other pictures
 */
export function* valueChanges(
  shot: Shot,
  negatives: readonly string[],
  seedsOfOthers: readonly bigint[],
): Generator<ValueChange> {
  const { guidanceScale = 0, steps = 0, negativePrompt = "" } = shot.request;
  const having = (change: Partial<Shot["request"]>): Shot => ({
    ...shot,
    request: { ...shot.request, ...change },
  });
  const near = new Set([...beside(guidanceScale), 1, 3, 4, 7]);
  for (const value of new Set([...near, ...usualGuidance])) {
    if (value === guidanceScale || value < 0) continue;
    yield guidanceChange(shot, value, near.has(value));
  }
  const nearSteps = new Set([...beside(steps), 20, 25, 30, 8, 9]);
  for (const value of new Set([...nearSteps, steps - 2, steps + 2, ...usualSteps])) {
    if (value === steps || value < 1) continue;
    yield stepsChange(shot, value, nearSteps.has(value) && value < 2 * steps + 5);
  }
  const [lora] = shot.request.loras ?? [];
  if (lora !== undefined) {
    for (const value of new Set([1, 0, -lora.multiplier, ...usualMultipliers])) {
      if (value !== lora.multiplier)
        yield multiplierChange(shot, value, Math.abs(value) === 1 || value === 0);
    }
  }
  for (const seed of new Set([...seedsOfOthers, ...usualOwnSeeds])) {
    if (seed === shot.request.seed) continue;
    yield {
      factor: "seed",
      value: String(seed),
      sentence: `its own seed was ${seed}, not ${shot.request.seed}`,
      likely: false,
      shot: having({ seed }),
    };
  }
  for (const text of new Set(["", ...negatives])) {
    if (text === negativePrompt) continue;
    yield {
      factor: "negative_prompt",
      value: text,
      sentence:
        text === ""
          ? "its negative prompt was empty"
          : `its negative prompt was ${JSON.stringify(text)}`,
      likely: text === "",
      shot: having({ negativePrompt: text }),
    };
  }
}

export function guidanceChange(shot: Shot, value: number, likely = false): ValueChange {
  return {
    factor: "guidance",
    value: String(value),
    sentence: `its guidance_scale was ${value}, not ${shot.request.guidanceScale}`,
    likely,
    shot: { ...shot, request: { ...shot.request, guidanceScale: value } },
  };
}

export function stepsChange(shot: Shot, value: number, likely = false): ValueChange {
  return {
    factor: "steps",
    value: String(value),
    sentence: `it was drawn with ${value} steps, not ${shot.request.steps}`,
    likely,
    shot: { ...shot, request: { ...shot.request, steps: value } },
  };
}

/** Of the first LoRA; a job's previews have no other. */
export function multiplierChange(shot: Shot, value: number, likely = false): ValueChange {
  const [lora, ...rest] = shot.request.loras ?? [];
  return {
    factor: "multiplier",
    value: String(value),
    sentence:
      value === 0
        ? "it was drawn without its LoRA"
        : `its network_multiplier was ${value}, not ${lora!.multiplier}`,
    likely,
    shot: {
      ...shot,
      request: { ...shot.request, loras: [{ ...lora!, multiplier: value }, ...rest] },
    },
  };
}

/** The size that the preview's file has. */
export function sizeChange(shot: Shot, width: number, height: number): ValueChange {
  return {
    factor: "size",
    value: `${width}x${height}`,
    sentence: `it has ${width} x ${height} pixels, and the job's files say ${shot.request.width} x ${shot.request.height}`,
    likely: true,
    shot: { ...shot, request: { ...shot.request, width, height } },
  };
}
