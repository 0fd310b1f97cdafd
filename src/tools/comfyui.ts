import type { Graph, GraphNode } from "./comfy-graph.ts";
import { findNumber, linked, nodeTitle } from "./comfy-graph.ts";
import { fileOf, readModel } from "./comfy-model.ts";
import type { ReadConditioning } from "./comfy-prompt.ts";
import { asNegative, readConditioning } from "./comfy-prompt.ts";
import { findSampler, latentsOf } from "./comfy-sampler.ts";
import type { NodeSchedule } from "./comfy-schedule-nodes.ts";
import { readSchedule } from "./comfy-schedule-nodes.ts";
import type { ToolSettings } from "./settings.ts";
import { inWords, unknownSettings } from "./settings.ts";

interface Size {
  readonly width: number;
  readonly height: number;
}

/** The shift of Z-Image's configuration, where no node sets one. */
const ownShift = 3;

/**
 * What a ComfyUI graph says of the picture that its file holds: everything is followed back from the sampler
 * behind the node that saves. Read in Comfy-Org/ComfyUI a125cd84: `nodes.py`, `comfy_extras`, `comfy/samplers.py`.
 *
 * @param picture the size of the picture in the file, in pixels
 */
export function readComfyGraph(graph: Graph, picture: Size): ToolSettings {
  const chosen = findSampler(graph, (sampler) => {
    const size = sizeOf(graph, latentsOf(graph, sampler).empty);
    return size?.width === picture.width && size.height === picture.height;
  });
  if (chosen === undefined) {
    return { ...unknownSettings("comfyui"), unread: ["No node of the graph draws a picture."] };
  }
  const { sampler } = chosen;
  const latents = latentsOf(graph, sampler);
  const schedule = wholeRun(graph, readSchedule(graph, sampler), latents.earlier);
  const { guider } = schedule;
  const model = readModel(graph, guider);
  const levels = schedule.modelOf === sampler ? model : readModel(graph, schedule.modelOf);
  const conditioning = (input: string, which: string) =>
    readConditioning(graph, guider, input, which);
  const has = (input: string) => Object.hasOwn(guider.inputs, input);
  const positive = conditioning(has("positive") ? "positive" : "conditioning", "positive prompt");
  const negative = has("negative") ? conditioning("negative", "negative prompt") : null;
  const size = sizeOf(graph, latents.empty);
  const cfg = cfgOf(graph, guider);
  const shift = levels.shift ?? ownShift;
  const { steps, scheduler, seed, denoise } = schedule;
  return {
    ...unknownSettings("comfyui"),
    prompt: positive.text,
    negative: negative === null ? null : asNegative(negative),
    standardCfg: cfg.value,
    cfgOwn: cfg.value === null ? null : { name: cfg.name, value: cfg.value },
    steps,
    sampler: schedule.sampler,
    scheduler,
    shift,
    window: schedule.window,
    givenSigmas: schedule.givenSigmas,
    seed,
    noise: schedule.noise,
    denoise,
    width: size?.width ?? null,
    height: size?.height ?? null,
    loras: model.loras,
    model: model.model,
    vae: vaeOf(graph, chosen.decoders),
    textEncoder: positive.encoder === null ? null : clipOf(graph, positive.encoder),
    own: inWords({
      prompt: ["text", positive.written],
      negative: ["negative", negative === null ? null : negativeWords(negative)],
      guidance: [cfg.name, cfg.value],
      steps: ["steps", steps],
      sampler: ["sampler_name", schedule.sampler],
      scheduler: ["scheduler", scheduler],
      shift: ["shift", levels.shift ?? `${ownShift}, the model's own`],
      seed: [schedule.seedName, seed],
      denoise: ["denoise", denoise],
      size: ["width, height", size && `${size.width}, ${size.height}`],
      loras: [
        "lora_name, strength_model",
        model.loras.map(({ name, strength }) => `${name}, ${strength}`).join("; "),
      ],
      model: ["unet_name", model.model],
    }),
    notes: [
      ...chosen.notes,
      ...chosen.between.map(
        (node) => `After it was drawn, ${nodeTitle(node)} changed the picture.`,
      ),
      ...schedule.notes,
      ...model.notes,
      ...(levels.shift === model.shift ? [] : ["The noise levels and the model have two shifts."]),
      ...positive.notes,
      ...(negative?.notes ?? []),
      ...latents.notes,
      ...batchNotes(graph, latents.empty),
    ],
    unread: [
      ...schedule.unread,
      ...model.unread,
      ...positive.unread,
      ...(negative?.unread ?? []),
      ...(cfg.value === null ? [`The guidance of ${nodeTitle(guider)} is not known.`] : []),
      ...(size === null ? ["The size of the latents is not written."] : []),
    ],
  };
}

/** A sampler that adds no noise goes on with another's: the seed is that one's, and the run may be one in two parts. */
function wholeRun(graph: Graph, last: NodeSchedule, earlier: GraphNode | null): NodeSchedule {
  if (earlier === null || last.seed !== null) return last;
  const first = readSchedule(graph, earlier);
  const { seed, seedName, noise } = first;
  const goesOn = last.window?.from === (first.window?.to ?? first.steps);
  const isOne = goesOn && first.steps === last.steps && first.scheduler === last.scheduler;
  const from = first.window?.from ?? 0;
  const to = last.window?.to ?? last.steps ?? 0;
  const isAll = from === 0 && to === last.steps;
  return {
    ...last,
    ...{ seed, seedName, noise },
    window: isOne ? (isAll ? null : { from, to }) : last.window,
  };
}

function sizeOf(graph: Graph, empty: GraphNode | null): Size | null {
  if (empty === null) return null;
  const width = findNumber(graph, empty, "width");
  const height = findNumber(graph, empty, "height");
  if (width === undefined || height === undefined) return null;
  return { width: Number(width.value), height: Number(height.value) };
}

/** A guider without negative prompt and cfg doesn't guide. */
function cfgOf(graph: Graph, guider: GraphNode): { name: string; value: number | null } {
  if (guider.type === "BasicGuider") return { name: guider.type, value: 1 };
  const cfg = findNumber(graph, guider, "cfg");
  return { name: "cfg", value: cfg === undefined ? null : Number(cfg.value) };
}

function negativeWords({ zeroed, written }: ReadConditioning): string | null {
  return zeroed ? "ConditioningZeroOut" : written;
}

function batchNotes(graph: Graph, empty: GraphNode | null): string[] {
  const batch = empty === null ? undefined : findNumber(graph, empty, "batch_size");
  if (batch === undefined || Number(batch.value) <= 1) return [];
  return [
    `${batch.value} pictures were drawn as one batch, from one stream of noise: only the first is the picture ` +
      "of the seed alone.",
  ];
}

/** Follows a text's encoder to its file, through LoRA loaders. */
function clipOf(graph: Graph, encoder: GraphNode): string | null {
  const visited = new Set<GraphNode>();
  let node = linked(graph, encoder, "clip")?.node;
  while (node !== undefined && !visited.has(node)) {
    visited.add(node);
    const next = linked(graph, node, "clip");
    if (next === undefined) return fileOf(graph, node);
    node = next.node;
  }
  return null;
}

function vaeOf(graph: Graph, decoders: readonly GraphNode[]): string | null {
  for (const decoder of decoders) {
    const vae = linked(graph, decoder, "vae");
    if (vae !== undefined) return fileOf(graph, vae.node);
  }
  return null;
}
