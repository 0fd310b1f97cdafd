import { models } from "../models/registry.ts";
import type { NoiseSource } from "../pipeline/meaning.ts";
import type { SamplerName } from "../sampler/samplers.ts";
import { autoShift, toolScheduleNames } from "../tools/schedules.ts";
import type { SettingName } from "../tools/settings.ts";
import type { Draft } from "./draft.ts";
import { scheduleOfDraft, withMeaning } from "./draft.ts";
import { resolvedShot } from "./shot.ts";

/** What a picture's tool may have done without writing it. */
export interface Guess {
  readonly setting: SettingName;
  readonly value: string;
  readonly sentence: string;
  readonly draft: Draft;
}

/** Threads that cards run at once: their processors times the threads of each. */
const cards: readonly (readonly [string, number])[] = [
  ["an RTX 3090 or 4070", 82 * 1536],
  ["an RTX 4090", 128 * 1536],
  ["an RTX 5090", 170 * 1536],
  ["an A100", 108 * 2048],
  ["an H100", 132 * 2048],
  ["an RTX 4080", 76 * 1536],
  ["an RTX 3080", 68 * 1536],
  ["an RTX 3060", 28 * 1536],
];

const samplers: readonly SamplerName[] = ["res_multistep", "dpmpp_2m", "heun"];

/** The likely first. */
export function* guessesFor(draft: Draft): Generator<Guess> {
  const { shot } = draft;
  const { effective, weight } = resolvedShot(shot);
  const { width, height, guidanceScale } = effective;
  yield* noises(draft, width, height);
  const plan = scheduleOfDraft(draft);
  const schedule = (
    setting: SettingName,
    value: string | number,
    change: Partial<typeof plan>,
  ) => ({
    setting,
    value: String(value),
    sentence: `its ${setting} was ${value}`,
    draft: { ...draft, schedule: { ...plan, ...change } },
  });
  for (const [value, words] of [
    [guidanceScale - 1, `guidance_scale ${guidanceScale} was taken for a standard cfg`],
    [
      guidanceScale,
      `guidance_scale ${guidanceScale} was taken for diffusers' own, a standard cfg of ${guidanceScale + 1}`,
    ],
    [0, "it was drawn without guidance"],
    ...[1, 2, 3, 4, 5, 6].map((cfg) => [cfg, `its standard cfg was ${cfg + 1}`] as const),
  ] as const) {
    if (value === weight || value < 0) continue;
    yield {
      setting: "guidance",
      value: String(value + 1),
      sentence: words,
      draft: withMeaning(draft, { guidanceWeight: value }),
    };
  }
  for (const steps of [plan.steps + 1, plan.steps - 1]) {
    if (steps > 0) yield schedule("steps", steps, { steps });
  }
  for (const shift of new Set([6, autoShift(width, height), 1.73, 1, 3, 9]))
    if (shift !== plan.shift) yield schedule("shift", Number(shift.toFixed(3)), { shift });
  for (const name of toolScheduleNames)
    if (name !== plan.schedule) yield schedule("scheduler", name, { schedule: name });
  for (const sampler of samplers)
    yield {
      setting: "sampler",
      value: sampler,
      sentence: `its sampler was ${sampler}`,
      draft: withMeaning(draft, { sampler }),
    };
  yield* strengths(draft);
  if (weight !== 0) {
    yield {
      setting: "negative",
      value: "zeros",
      sentence: "its negative prompt was zeros, not an empty text",
      draft: withMeaning(draft, { negative: "zeros" }),
    };
    const request = { ...shot.request, negativePrompt: " " };
    yield {
      setting: "negative",
      value: "a space",
      sentence: "its negative prompt was one space",
      draft: { ...draft, shot: { ...shot, request } },
    };
  }
  for (const denoise of [0.9, 0.8, 0.75, 0.7, 0.5]) yield schedule("denoise", denoise, { denoise });
  for (const { id } of models)
    if (id !== shot.model)
      yield {
        setting: "model",
        value: id,
        sentence: `it was drawn with ${id}`,
        draft: { ...draft, shot: { ...shot, model: id } },
      };
}

function* noises(draft: Draft, width: number, height: number): Generator<Guess> {
  const noise = (value: string, sentence: string, source: NoiseSource): Guess => ({
    setting: "noise",
    value,
    sentence,
    draft: withMeaning(draft, { noise: source }),
  });
  yield noise("GPU", "its noise was drawn on a graphics card", { generator: "philox" });
  const values = 16 * Math.floor(width / 8) * Math.floor(height / 8);
  for (const [card, threads] of cards) {
    // Cards that run a thread for each value draw the same.
    if (threads < values)
      yield noise(`GPU, ${card}`, `its noise was drawn on ${card}`, {
        generator: "philox",
        threads,
      });
  }
  yield noise("CPU", "its noise was drawn on the CPU", { generator: "cpu" });
  yield noise("CPU, bf16", "its noise was rounded to bf16", { generator: "cpu", bf16: true });
}

function* strengths(draft: Draft): Generator<Guess> {
  const { shot } = draft;
  const [lora, ...rest] = shot.request.loras ?? [];
  if (lora === undefined) return;
  for (const strength of [0, 1, 0.8, 0.5, 0.7, 1.5, 2, 0.6, 1.2, 0.9]) {
    if (strength === lora.multiplier) continue;
    const request = { ...shot.request, loras: [{ ...lora, multiplier: strength }, ...rest] };
    yield {
      setting: "loras",
      value: String(strength),
      sentence:
        strength === 0 ? "it was drawn without the LoRA" : `its LoRA's strength was ${strength}`,
      draft: { ...draft, shot: { ...shot, request } },
    };
  }
}
