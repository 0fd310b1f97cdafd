import type { ToolSchedule } from "./schedules.ts";
import { autoShift, toolScheduleNames, toolSigmas } from "./schedules.ts";
import type { ToolName, ToolSettings } from "./settings.ts";

/** What a tool's words say of its noise levels. */
export interface SchedulePlan {
  readonly schedule: ToolSchedule;
  /** Updates; `ddim_uniform` makes more. */
  readonly steps: number;
  readonly shift: number;
  readonly denoise: number;
}

/** Z-Image's own, in every tool that does not say another. */
const ownShift = 3;

/** The levels of flow matching end at 1; a list that starts a little above is drawn too. */
const mostLevel = 2;

/** Files say what they like: no tool makes more. */
const mostUpdates = 1000;

/** Where a tool names no schedule. */
const unsaid: Partial<Record<ToolName, ToolSchedule>> = {
  comfyui: "simple",
  swarmui: "simple",
  a1111: "simple",
  forge: "simple",
  "forge-neo": "simple",
  sdnext: "linear",
  "sd.cpp": "discrete",
  invokeai: "linear",
};

/** Words of tools for the schedules that are computed here. */
const named: Readonly<Record<string, ToolSchedule>> = {
  ...Object.fromEntries(toolScheduleNames.map((name) => [name, name])),
  ddim: "ddim_uniform",
  automatic: "simple",
  flowmatcheulerdiscretescheduler: "linear",
  head: "linear",
};

/** A tool's schedule, or why it can't be computed. */
export function scheduleIn(settings: ToolSettings): SchedulePlan | { readonly unknown: string } {
  const { tool, scheduler, steps, denoise, width, height } = settings;
  if (steps === null) return { unknown: "how many steps it made is not written" };
  if (!Number.isInteger(steps) || steps < 1 || steps > mostUpdates)
    return { unknown: `${steps} steps can't be drawn` };
  if (settings.shift === "auto" && (width === null || height === null))
    return { unknown: "its shift follows its size, which is not written" };
  const shift =
    settings.shift === "auto" ? autoShift(width!, height!) : (settings.shift ?? ownShift);
  if (!(shift > 0) || !Number.isFinite(shift)) return { unknown: `its shift is ${shift}` };
  if (denoise !== null && !(denoise > 0 && denoise <= 1 && steps / denoise <= mostUpdates))
    return { unknown: `its denoising strength is ${denoise}` };
  const word = scheduler?.toLowerCase().replaceAll(/[\s-]+/g, "_") ?? null;
  const rest = { shift, denoise: denoise ?? 1 };
  // N steps make N-1 updates: the last one changes nothing.
  if (word === "pin") return { schedule: "linear", steps: Math.max(1, steps - 1), ...rest };
  const known = Object.hasOwn(named, word ?? "") ? named[word!] : undefined;
  const schedule = word === null || word === "default" ? unsaid[tool] : known;
  if (schedule === undefined)
    return { unknown: `its schedule ${scheduler} is none that is computed here` };
  return { schedule, steps, ...rest };
}

/** The noise levels that a tool ran, with what it cut off; or why they are not known. */
export function sigmasIn(settings: ToolSettings): number[] | { readonly unknown: string } {
  const { givenSigmas, window } = settings;
  const plan = scheduleIn(settings);
  if (givenSigmas === null && "unknown" in plan) return plan;
  const sigmas = givenSigmas ?? [...toolSigmas(plan as SchedulePlan)];
  const run = window === null ? [...sigmas] : sigmas.slice(window.from, window.to + 1);
  const isSchedule =
    run.length > 1 &&
    run.length <= mostUpdates + 1 &&
    run.every((level, i) => level >= 0 && level <= (run[i - 1] ?? mostLevel));
  return isSchedule ? run : { unknown: "its noise levels are no falling list" };
}
