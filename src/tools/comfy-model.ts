import type { Graph, GraphNode } from "./comfy-graph.ts";
import { findNumber, findString, linked, literal, nodeTitle } from "./comfy-graph.ts";
import { lorasOf } from "./comfy-loras.ts";
import type { ToolLora } from "./settings.ts";

export interface ModelChain {
  /** In the order in which they are applied. */
  readonly loras: readonly ToolLora[];
  /** null: no node sets it, so it is the model's own. */
  readonly shift: number | null;
  readonly model: string | null;
  readonly notes: readonly string[];
  readonly unread: readonly string[];
}

/** Patches that don't change what is computed, or only by rounding. */
const harmless = new Set(["TorchCompileModel", "ModelComputeDtype"]);

/**
 * Follows the model of a node back to its file.
 *
 * @param start the node whose `model` input is meant
 */
export function readModel(graph: Graph, start: GraphNode): ModelChain {
  const loras: ToolLora[] = [];
  const notes: string[] = [];
  const unread: string[] = [];
  let shift: number | null = null;
  let model: string | null = null;
  const visited = new Set<GraphNode>([start]);
  let node = linked(graph, start, "model")?.node;
  while (node !== undefined) {
    if (visited.has(node)) {
      unread.push(`The links of ${nodeTitle(node)} form a loop.`);
      break;
    }
    visited.add(node);
    const found = lorasOf(graph, node, unread);
    loras.unshift(...found);
    // The node next to the sampler has the last word.
    if (node.type.startsWith("ModelSampling")) shift ??= readShift(graph, node, notes, unread);
    const next = linked(graph, node, "model") ?? linked(graph, node, "model1");
    if (next === undefined) {
      model = fileOf(graph, node);
      if (model === null)
        unread.push(`The model comes from ${nodeTitle(node)}, which names no file.`);
      const dtype = literal(node, "weight_dtype");
      if (typeof dtype === "string" && dtype !== "default")
        notes.push(`The model's weights are rounded to ${dtype} when they are loaded.`);
      return { loras, shift, model, notes, unread };
    }
    const isKnown =
      found.length > 0 || /Lora/i.test(node.type) || node.type.startsWith("ModelSampling");
    if (!isKnown && !harmless.has(node.type)) notes.push(`${nodeTitle(node)} changes the model.`);
    node = next.node;
  }
  if (model === null) unread.push("The model is not named.");
  return { loras, shift, model, notes, unread };
}

function readShift(
  graph: Graph,
  node: GraphNode,
  notes: string[],
  unread: string[],
): number | null {
  const shift = findNumber(graph, node, "shift");
  if (shift === undefined) {
    unread.push(`${nodeTitle(node)} sets the schedule in a way that is not known.`);
    return null;
  }
  if (node.type === "ModelSamplingSD3") {
    notes.push(
      `${nodeTitle(node)} gives the model timesteps of 0 to 1000 where Z-Image expects 0 to 1: ` +
        "ModelSamplingAuraFlow is the node for it.",
    );
  } else if (node.type !== "ModelSamplingAuraFlow") {
    notes.push(`${nodeTitle(node)} is not the schedule that Z-Image was made for.`);
  }
  return Number(shift.value);
}

/** Files that loaders name. */
export function fileOf(graph: Graph, node: GraphNode): string | null {
  for (const name of [
    "unet_name",
    "ckpt_name",
    "clip_name",
    "vae_name",
    "model_name",
    "gguf_name",
  ]) {
    const found = findString(graph, node, name);
    if (found !== undefined) return found.value;
  }
  const file = Object.values(node.inputs).find(
    (value) => typeof value === "string" && /\.(safetensors|gguf|sft|pth?|ckpt|bin)$/i.test(value),
  );
  return typeof file === "string" ? file : null;
}
