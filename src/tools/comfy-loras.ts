import type { JsonValue } from "../wire/python-json.ts";
import type { Graph, GraphNode } from "./comfy-graph.ts";
import { findNumber, findString, linked, literal, nodeTitle } from "./comfy-graph.ts";
import type { ToolLora } from "./settings.ts";
import { isObject, plainNumber } from "./tool-json.ts";

/** More loaders than hand their LoRAs on. */
const mostStacks = 64;

/**
 * The LoRAs that a node adds: ComfyUI's own loaders, and those of others that keep several.
 *
 * @param unread gets a sentence for what can't be read
 */
export function lorasOf(graph: Graph, node: GraphNode, unread: string[]): ToolLora[] {
  if (Object.hasOwn(node.inputs, "lora_name")) {
    const name = findString(graph, node, "lora_name");
    const strength =
      findNumber(graph, node, "strength_model") ?? findNumber(graph, node, "strength");
    if (name !== undefined && strength !== undefined)
      return [{ name: name.value, strength: Number(strength.value) }];
    unread.push(`The LoRA of ${nodeTitle(node)} is not written as a name and a number.`);
    return [];
  }
  if (!/lora/i.test(node.type)) return [];
  const loras: ToolLora[] = [];
  const visited = new Set<GraphNode>();
  // A stack is handed from node to node, the first loader's first.
  for (
    let stack: GraphNode | undefined = node;
    stack !== undefined && !visited.has(stack) && visited.size < mostStacks;
    stack = linked(graph, stack, "lora_stack")?.node
  ) {
    visited.add(stack);
    loras.unshift(...listed(stack), ...numbered(stack));
  }
  if (loras.length === 0) unread.push(`${nodeTitle(node)} holds no LoRA that can be read.`);
  return loras;
}

/** rgthree's Power Lora Loader keeps {on, lora, strength}, LoRA Manager a list of {active, name, strength}. */
function listed({ inputs }: GraphNode): ToolLora[] {
  return Object.values(inputs).flatMap((value) => entriesOf(value).flatMap(entryOf));
}

function entriesOf(value: JsonValue): readonly JsonValue[] {
  if (Array.isArray(value)) return value;
  if (!isObject(value)) return [];
  return Array.isArray(value.__value__) ? value.__value__ : [value];
}

function entryOf(value: JsonValue): ToolLora[] {
  if (!isObject(value)) return [];
  const name = value.lora ?? value.name;
  const isOff = value.on === false || value.active === false;
  if (typeof name !== "string" || isOff || value.strength === undefined) return [];
  return [{ name, strength: plainNumber(value.strength) }];
}

/** Stacks of rows: lora_01 and strength_01 (rgthree), lora_name_1, model_weight_1 and switch_1 (Comfyroll). */
function numbered(node: GraphNode): ToolLora[] {
  return Object.keys(node.inputs).flatMap((key): ToolLora[] => {
    const row = /^lora(?:_name)?_(\d{1,3})$/.exec(key)?.[1];
    const name = row === undefined ? undefined : literal(node, key);
    if (typeof name !== "string" || name === "None" || literal(node, `switch_${row}`) === "Off")
      return [];
    const strength = ["strength", "model_weight", "strength_model", "lora_wt"]
      .map((word) => literal(node, `${word}_${row}`))
      .find((value) => value !== undefined);
    return [{ name, strength: plainNumber(strength ?? 1) }];
  });
}
