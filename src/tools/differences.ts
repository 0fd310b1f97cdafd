import { idOfName, isFamilyName } from "../models/id-of-name.ts";
import type { SamplerName } from "../sampler/samplers.ts";
import type { SchedulePlan } from "./schedule-in.ts";
import { scheduleIn, sigmasIn } from "./schedule-in.ts";
import { toolSigmas } from "./schedules.ts";
import type { Negative, SettingName, ToolSettings } from "./settings.ts";

/** A setting that two pictures were made with differently, each side in its own tool's words. */
export interface Difference {
  readonly setting: SettingName;
  /** `cfg: 4`, and what it comes to where that is not the same for all tools. */
  readonly first: string;
  readonly second: string;
}

/** What changes a picture most stands first. */
const order: readonly SettingName[] = [
  "model",
  "size",
  "seed",
  "noise",
  "prompt",
  "loras",
  "guidance",
  "denoise",
  "shift",
  "scheduler",
  "steps",
  "sampler",
  "negative",
];

/**
 * Noise levels that are as near as this make the same picture but for a fine grain: ComfyUI's
 * `simple` is 0.0026 away from diffusers' list at most, stable-diffusion.cpp's `discrete` 0.0030
 * from the older one.
 */
const nearLevels = 0.0035;
/** An update from here to 0 is next to none: ComfyUI's `normal` ends so. */
const lastLevel = 0.01;

/**
 * Every setting that both tools wrote and that means something else in each. What one of them did
 * not write is no difference: `unsaidIn` names it.
 */
export function differencesOf(first: ToolSettings, second: ToolSettings): Difference[] {
  return order
    .filter((setting) => differ[setting]?.(first, second) === true)
    .map((setting) => ({
      setting,
      first: wordsOf(setting, first),
      second: wordsOf(setting, second),
    }));
}

/** What a tool did not write, or in words that say nothing here. */
export function unsaidIn(settings: ToolSettings): SettingName[] {
  const isUnsaid: Readonly<Partial<Record<SettingName, boolean>>> = {
    model: familyOf(settings) === null,
    size: settings.width === null || settings.height === null,
    noise: settings.noise === "unknown",
    guidance: settings.standardCfg === null,
    shift: false,
    denoise: false,
    loras: false,
    scheduler: !Array.isArray(sigmasIn(settings)),
    sampler: settings.sampler === null,
  };
  return order.filter((setting) => isUnsaid[setting] ?? settings[setting as "seed"] === null);
}

/** The samplers that are computed here, by the names that tools have for them. */
export function samplerIn({ sampler }: ToolSettings): SamplerName | null {
  const word = sampler?.toLowerCase().replaceAll(/[^a-z0-9+]/g, "") ?? "";
  if (/^(euler|ddim|default|eulerflowmatch|flowmatcheulerdiscretescheduler)$/.test(word))
    return "euler";
  if (word === "resmultistep") return "res_multistep";
  if (/^(dpmpp|dpm\+\+)2m$/.test(word)) return "dpmpp_2m";
  return word === "heun" ? "heun" : null;
}

/** The model's id, where its name says that it is of the family. */
export function familyOf({ model }: ToolSettings): string | null {
  return model !== null && isFamilyName(model) ? idOfName(model) : null;
}

type Differ = (a: ToolSettings, b: ToolSettings) => boolean;

function known<T>(of: (settings: ToolSettings) => T | null, same: (x: T, y: T) => boolean): Differ {
  return (a, b) => {
    const [x, y] = [of(a), of(b)];
    return x !== null && y !== null && !same(x, y);
  };
}

const differ: Readonly<Partial<Record<SettingName, Differ>>> = {
  model: known(familyOf, Object.is),
  size: (a, b) => known((s) => s.width, Object.is)(a, b) || known((s) => s.height, Object.is)(a, b),
  seed: known((s) => s.seed, Object.is),
  noise: known((s) => (s.noise === "unknown" ? null : generatorOf(s)), Object.is),
  prompt: known(
    (s) => s.prompt,
    (x, y) => x.trim() === y.trim(),
  ),
  loras: (a, b) => lorasOf(a) !== lorasOf(b),
  guidance: known(
    (s) => s.standardCfg,
    (x, y) => Math.abs(x - y) < 1e-6,
  ),
  denoise: (a, b) =>
    changesLevels("denoise", a, b) || JSON.stringify(a.window) !== JSON.stringify(b.window),
  shift: (a, b) => changesLevels("shift", a, b),
  scheduler: (a, b) => changesLevels("schedule", a, b) || differsAsList(a, b),
  steps: (a, b) => changesLevels("steps", a, b),
  sampler: known((s) => samplerIn(s) ?? s.sampler, Object.is),
  negative: (a, b) =>
    (a.standardCfg !== 1 || b.standardCfg !== 1) &&
    known(
      (s) => s.negative,
      (x, y) => negativeText(x) === negativeText(y),
    )(a, b),
};

/** The software copy draws what a card does, as far as a card's threads reach. */
function generatorOf({ noise }: ToolSettings): string {
  return noise === "nv-philox" ? "cuda-philox" : noise;
}

/** Whether one part of the second's schedule moves the first's noise levels. */
function changesLevels(part: keyof SchedulePlan, a: ToolSettings, b: ToolSettings): boolean {
  const plans = [scheduleIn(a), scheduleIn(b)];
  const [first, second] = plans;
  if ("unknown" in first! || "unknown" in second! || isGiven(a) || isGiven(b)) return false;
  if (areNear([...toolSigmas(first!)], [...toolSigmas(second!)])) return false;
  return !areNear([...toolSigmas(first!)], [...toolSigmas({ ...first!, [part]: second![part] })]);
}

/** Where a list of levels is written out, there are no parts to change. */
function differsAsList(a: ToolSettings, b: ToolSettings): boolean {
  if (!isGiven(a) && !isGiven(b)) return false;
  const lists = [sigmasIn(a), sigmasIn(b)];
  return lists.every(Array.isArray) && !areNear(lists[0] as number[], lists[1] as number[]);
}

/** Retake writes the list that its schedule comes to. */
function isGiven(settings: ToolSettings): boolean {
  return settings.givenSigmas !== null && "unknown" in scheduleIn(settings);
}

function areNear(a: readonly number[], b: readonly number[]): boolean {
  const [x, y] = [a, b].map((levels) => levels.filter((level) => level >= lastLevel));
  return x!.length === y!.length && x!.every((level, i) => Math.abs(level - y![i]!) <= nearLevels);
}

function lorasOf({ loras }: ToolSettings): string {
  const acting = loras.filter(({ strength }) => strength !== 0);
  const texts = acting.map(({ name, strength }) => `${fileName(name)} ${strength}`);
  return texts.toSorted().join();
}

/** Tools write a LoRA's file with or without its folder and its ending. */
export function fileName(name: string): string {
  return name
    .split(/[\\/]/)
    .at(-1)!
    .replace(/\.safetensors$/i, "")
    .toLowerCase();
}

function negativeText(negative: Negative): string {
  return negative.kind === "text"
    ? `text ${negative.text}`
    : negative.kind === "space"
      ? "text  "
      : "zeros";
}

function wordsOf(setting: SettingName, settings: ToolSettings): string {
  const own = settings.own[setting];
  const said = own === undefined ? "not written" : `${own.name} ${own.value}`;
  return [said, ...meant(setting, settings)].join(", ");
}

/** What a number means where tools count differently. */
function meant(setting: SettingName, settings: ToolSettings): string[] {
  const { standardCfg, cfgOwn, noise } = settings;
  if (setting === "guidance" && standardCfg !== null && cfgOwn?.value !== standardCfg)
    return [`which is a standard cfg of ${standardCfg}`];
  if (setting === "noise") return [`which is ${generators[noise]}`];
  if (!["steps", "scheduler", "shift", "denoise"].includes(setting)) return [];
  const levels = sigmasIn(settings);
  if (!Array.isArray(levels)) return [];
  const shown = levels.map((level) => Number(level.toFixed(3)));
  return [
    `noise levels ${shown.length > 6 ? `${shown.slice(0, 5).join(" ")} … (${shown.length - 1} updates)` : shown.join(" ")}`,
  ];
}

const generators: Readonly<Record<ToolSettings["noise"], string>> = {
  cpu: "torch's CPU generator",
  "bf16-cpu": "torch's CPU generator, rounded to bf16",
  "cuda-philox": "the graphics card's generator",
  "nv-philox": "a graphics card's generator in software",
  mlx: "Apple's MLX",
  unknown: "not known",
};
