import type { Graph, GraphNode } from "./comfy-graph.ts";
import { findNumber, findString, linked, literal, nodeTitle } from "./comfy-graph.ts";
import type { NoiseSource, ToolSettings } from "./settings.ts";

/** How a sampler node's run is laid out. */
export interface NodeSchedule
  extends Pick<
    ToolSettings,
    "steps" | "sampler" | "scheduler" | "denoise" | "window" | "givenSigmas" | "seed"
  > {
  /** The node that has model, prompts and cfg. */
  readonly guider: GraphNode;
  /** The node whose model gives the noise levels. */
  readonly modelOf: GraphNode;
  /** ComfyUI's name for the seed's input. */
  readonly seedName: string;
  readonly noise: NoiseSource;
  readonly notes: readonly string[];
  readonly unread: readonly string[];
}

type Draft = { -readonly [Key in keyof NodeSchedule]: NodeSchedule[Key] } & {
  notes: string[];
  unread: string[];
};

/** How a sampler node lays out its run: ComfyUI's KSampler, KSamplerAdvanced, SamplerCustom, SamplerCustomAdvanced. */
export function readSchedule(graph: Graph, sampler: GraphNode): NodeSchedule {
  const draft: Draft = {
    guider: linked(graph, sampler, "guider")?.node ?? sampler,
    modelOf: sampler,
    steps: null,
    sampler: null,
    scheduler: null,
    denoise: null,
    window: null,
    givenSigmas: null,
    seed: null,
    seedName: "seed",
    noise: "cpu",
    notes: [],
    unread: [],
  };
  readSeed(graph, sampler, draft);
  const isCustom = Object.hasOwn(sampler.inputs, "sigmas");
  if (!isCustom) {
    draft.sampler = named(graph, sampler, "sampler_name", draft);
    readSteps(graph, sampler, draft);
    readWindow(graph, sampler, draft);
    return draft;
  }
  const selected = linked(graph, sampler, "sampler")?.node;
  if (selected === undefined) draft.unread.push(`${nodeTitle(sampler)} names no sampler.`);
  else if (selected.type === "KSamplerSelect")
    draft.sampler = named(graph, selected, "sampler_name", draft);
  else draft.sampler = selected.type;
  readSigmas(graph, sampler, draft, new Set());
  return draft;
}

function readSeed(graph: Graph, sampler: GraphNode, draft: Draft): void {
  const noise = linked(graph, sampler, "noise")?.node;
  if (noise?.type === "DisableNoise" || literal(sampler, "add_noise") === "disable") {
    draft.noise = "unknown";
    draft.notes.push(`${nodeTitle(sampler)} adds no noise: it goes on with what it is given.`);
    return;
  }
  const holder = noise ?? sampler;
  draft.seedName = Object.hasOwn(holder.inputs, "noise_seed") ? "noise_seed" : "seed";
  const seed = number(graph, holder, draft.seedName, draft);
  // A seed in JSON may be a fraction only if somebody wrote it by hand.
  if (seed !== null && Number.isInteger(Number(seed))) draft.seed = BigInt(seed);
}

function readSteps(graph: Graph, node: GraphNode, draft: Draft): void {
  const steps = number(graph, node, "steps", draft);
  draft.steps = steps === null ? null : Number(steps);
  draft.scheduler = named(graph, node, "scheduler", draft);
  if (!Object.hasOwn(node.inputs, "denoise")) return;
  const denoise = number(graph, node, "denoise", draft);
  draft.denoise = denoise === null ? null : Number(denoise);
}

/** KSamplerAdvanced runs a part of its schedule. */
function readWindow(graph: Graph, sampler: GraphNode, draft: Draft): void {
  const { steps } = draft;
  if (!Object.hasOwn(sampler.inputs, "start_at_step") || steps === null) return;
  const from = Number(number(graph, sampler, "start_at_step", draft) ?? 0);
  const to = Math.min(Number(number(graph, sampler, "end_at_step", draft) ?? steps), steps);
  if (from > 0 || to < steps) draft.window = { from, to };
  if (literal(sampler, "return_with_leftover_noise") === "enable" && to < steps)
    draft.notes.push(`${nodeTitle(sampler)} leaves noise in the picture.`);
}

/** Nodes that make a list of noise levels out of a number of steps, and ComfyUI's name for the list. */
const schedulers: ReadonlyMap<string, string> = new Map([
  ["BetaSamplingScheduler", "beta"],
  ["KarrasScheduler", "karras"],
  ["ExponentialScheduler", "exponential"],
]);

/** The node that makes a sampler's noise levels, through those that cut them. */
function readSigmas(graph: Graph, node: GraphNode, draft: Draft, visited: Set<GraphNode>): void {
  const found = linked(graph, node, "sigmas");
  if (found === undefined) {
    draft.unread.push(`The noise levels of ${nodeTitle(node)} come from nowhere that is known.`);
    return;
  }
  const { node: from, slot } = found;
  if (visited.has(from)) {
    draft.unread.push(`The links of ${nodeTitle(from)} form a loop.`);
    return;
  }
  visited.add(from);
  if (linked(graph, from, "model") !== undefined) draft.modelOf = from;
  if (from.type === "BasicScheduler") {
    readSteps(graph, from, draft);
    return;
  }
  if (from.type === "ManualSigmas") {
    readManualSigmas(graph, from, draft);
    return;
  }
  if (linked(graph, from, "sigmas") !== undefined) {
    readSigmas(graph, from, draft, visited);
    cut(graph, from, slot, draft);
    return;
  }
  const steps = findNumber(graph, from, "steps");
  draft.steps = steps === undefined ? null : Number(steps.value);
  draft.scheduler = schedulers.get(from.type) ?? from.type;
  const settings = Object.keys(from.inputs)
    .filter((name) => name !== "steps" && literal(from, name) !== undefined)
    .map((name) => `${name} ${literal(from, name)}`);
  draft.notes.push(`The noise levels are made by ${[nodeTitle(from), ...settings].join(", ")}.`);
}

function cut(graph: Graph, node: GraphNode, slot: number, draft: Draft): void {
  const step = findNumber(graph, node, "step");
  const last = draft.steps ?? (draft.givenSigmas === null ? null : draft.givenSigmas.length - 1);
  if (node.type !== "SplitSigmas" || step === undefined || last === null) {
    draft.notes.push(`${nodeTitle(node)} changes the noise levels.`);
    return;
  }
  const at = Math.min(Number(step.value), last);
  draft.window = slot === 0 ? { from: 0, to: at } : { from: at, to: last };
}

/** One more than the most steps that anything here is drawn in. */
const mostSigmas = 1001;

function readManualSigmas(graph: Graph, node: GraphNode, draft: Draft): void {
  const text = named(graph, node, "sigmas", draft);
  if (text === null) return;
  // Any number in the text counts, whatever stands between.
  const sigmas = (text.match(/[-+]?(?:\d*\.\d+|\d+\.?)(?:[eE][-+]?\d+)?/g) ?? []).map(Number);
  if (sigmas.length < 2 || sigmas.length > mostSigmas) {
    draft.unread.push(`The noise levels of ${nodeTitle(node)} are not 2 to ${mostSigmas} numbers.`);
    return;
  }
  draft.scheduler = node.type;
  draft.givenSigmas = sigmas;
  draft.steps = sigmas.length - 1;
}

function number(graph: Graph, node: GraphNode, name: string, draft: Draft): number | bigint | null {
  const found = findNumber(graph, node, name);
  if (found === undefined) {
    draft.unread.push(`"${name}" of ${nodeTitle(node)} is made by nodes that are not known.`);
    return null;
  }
  if (found.guessedFrom !== null)
    draft.notes.push(
      `"${name}" is taken from ${nodeTitle(found.guessedFrom)}, which is not known.`,
    );
  return found.value;
}

function named(graph: Graph, node: GraphNode, name: string, draft: Draft): string | null {
  const found = findString(graph, node, name);
  if (found === undefined)
    draft.unread.push(`"${name}" of ${nodeTitle(node)} is made by nodes that are not known.`);
  return found?.value ?? null;
}
