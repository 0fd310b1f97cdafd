import { generateRequestSchema } from "../job/request.ts";
import type { Meaning } from "../pipeline/meaning.ts";
import { familyOf, fileName, samplerIn } from "../tools/differences.ts";
import type { SchedulePlan } from "../tools/schedule-in.ts";
import { scheduleIn, sigmasIn } from "../tools/schedule-in.ts";
import { toolSigmas } from "../tools/schedules.ts";
import type { SettingName, ToolSettings } from "../tools/settings.ts";
import type { Shot } from "./shot.ts";
import { resolvedShot } from "./shot.ts";
import type { TrainedLora } from "./trained-loras.ts";

/** A shot whose schedule is still in parts, so that each can be changed. */
export interface Draft {
  readonly shot: Shot;
  /** null: the shot's profile's own. */
  readonly schedule: SchedulePlan | readonly number[] | null;
}

export function shotOf({ shot, schedule }: Draft): Shot {
  if (schedule === null) return shot;
  const sigmas = "schedule" in schedule ? [...toolSigmas(schedule)] : schedule;
  return { ...shot, meaning: { ...shot.meaning, sigmas } };
}

/** What a setting can't be made to mean here, and why. */
export interface Unfit {
  readonly unfit: string;
}

/**
 * A draft with one setting as another tool had it.
 *
 * @param loras whose files the tool's names may mean
 */
export function withSetting(
  draft: Draft,
  setting: SettingName,
  settings: ToolSettings,
  loras: readonly Pick<TrainedLora, "file" | "path">[],
): Draft | Unfit {
  const changed = applied(draft, setting, settings, loras);
  return "unfit" in changed ? changed : drawable(changed);
}

/** A draft of another size, in pixels. */
export function withSize(draft: Draft, width: number, height: number): Draft | Unfit {
  const { shot } = draft;
  return drawable({
    ...draft,
    shot: { ...shot, request: { ...shot.request, width, height } },
  });
}

function drawable(changed: Draft): Draft | Unfit {
  const parsed = generateRequestSchema.safeParse(changed.shot.request);
  if (parsed.success) return changed;
  const [issue] = parsed.error.issues;
  return { unfit: `${issue!.path.join(".")}: ${issue!.message}` };
}

function applied(
  draft: Draft,
  setting: SettingName,
  settings: ToolSettings,
  loras: readonly Pick<TrainedLora, "file" | "path">[],
): Draft | Unfit {
  const { shot } = draft;
  const request = (change: Partial<Shot["request"]>): Draft => ({
    ...draft,
    shot: { ...shot, request: { ...shot.request, ...change } },
  });
  const meaning = (change: Partial<Meaning>): Draft => withMeaning(draft, change);
  const { prompt, negative, seed, standardCfg } = settings;
  switch (setting) {
    case "prompt":
      return prompt === null ? unwritten : request({ prompt });
    case "negative":
      if (negative === null) return unwritten;
      if (negative.kind === "zeros") return meaning({ negative: "zeros" });
      return request({ negativePrompt: negative.kind === "space" ? " " : negative.text });
    case "seed":
      return seed === null ? unwritten : request({ seed });
    case "guidance":
      return standardCfg === null ? unwritten : meaning({ guidanceWeight: standardCfg - 1 });
    case "noise":
      return noiseOf(settings, meaning);
    case "model": {
      const model = familyOf(settings);
      return model === null ? unwritten : { ...draft, shot: { ...shot, model } };
    }
    case "sampler": {
      const sampler = samplerIn(settings);
      return sampler === null
        ? { unfit: `the sampler ${settings.sampler} is not computed here` }
        : meaning({ sampler });
    }
    case "loras":
      return withLoras(settings, loras, request);
    case "steps":
    case "shift":
    case "scheduler":
    case "denoise":
      return withSchedule(draft, setting, settings);
    default:
      return { unfit: "it can't be changed here" };
  }
}

export function withMeaning(draft: Draft, change: Partial<Meaning>): Draft {
  return { ...draft, shot: { ...draft.shot, meaning: { ...draft.shot.meaning, ...change } } };
}

const unwritten: Unfit = { unfit: "it is not written" };

function noiseOf(
  { noise }: ToolSettings,
  meaning: (change: Partial<Meaning>) => Draft,
): Draft | Unfit {
  if (noise === "cpu") return meaning({ noise: { generator: "cpu" } });
  if (noise === "bf16-cpu") return meaning({ noise: { generator: "cpu", bf16: true } });
  if (noise === "cuda-philox" || noise === "nv-philox")
    return meaning({ noise: { generator: "philox" } });
  return { unfit: noise === "mlx" ? "MLX's generator is not computed here" : "it is not written" };
}

function withLoras(
  settings: ToolSettings,
  loras: readonly Pick<TrainedLora, "file" | "path">[],
  request: (change: Partial<Shot["request"]>) => Draft,
): Draft | Unfit {
  const found = settings.loras.map(({ name, strength }) => ({
    path: loras.find(({ file }) => fileName(file) === fileName(name))?.path,
    multiplier: strength,
    name,
  }));
  const missing = found.find(({ path }) => path === undefined);
  if (missing !== undefined) return { unfit: `the LoRA ${missing.name} is not at hand` };
  return request({ loras: found.map(({ path, multiplier }) => ({ path: path!, multiplier })) });
}

/** What the draft runs now, in parts. */
export function scheduleOfDraft({ shot, schedule }: Draft): SchedulePlan {
  if (schedule !== null && "schedule" in schedule) return schedule;
  return { schedule: "linear", steps: resolvedShot(shot).updates, shift: 3, denoise: 1 };
}

function withSchedule(
  draft: Draft,
  setting: "steps" | "shift" | "scheduler" | "denoise",
  settings: ToolSettings,
): Draft | Unfit {
  const theirs = scheduleIn(settings);
  if ("unknown" in theirs || settings.window !== null) {
    const sigmas = sigmasIn(settings);
    return Array.isArray(sigmas) ? { ...draft, schedule: sigmas } : { unfit: sigmas.unknown };
  }
  const part = setting === "scheduler" ? "schedule" : setting;
  return { ...draft, schedule: { ...scheduleOfDraft(draft), [part]: theirs[part] } };
}
