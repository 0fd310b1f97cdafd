import type { Graph, GraphNode } from "./comfy-graph.ts";
import { findString, linked, nodeTitle } from "./comfy-graph.ts";
import type { Negative } from "./settings.ts";

/** A conditioning as far as it is a text. */
export interface ReadConditioning {
  /** What ComfyUI encodes; null if it isn't known. */
  readonly text: string | null;
  /** As the node holds it. */
  readonly written: string | null;
  readonly zeroed: boolean;
  /** The node that encodes the text. */
  readonly encoder: GraphNode | null;
  readonly notes: readonly string[];
  readonly unread: readonly string[];
}

/** More nodes than stand between a text and a sampler. */
const longestWay = 500;

/** Nodes whose two inputs both act. */
const joining: ReadonlyMap<string, readonly string[]> = new Map([
  ["ConditioningCombine", ["conditioning_1", "conditioning_2"]],
  ["ConditioningConcat", ["conditioning_to", "conditioning_from"]],
  ["ConditioningAverage", ["conditioning_to", "conditioning_from"]],
]);

/**
 * Follows a conditioning back to its text.
 *
 * @param which for the notes: "positive prompt" or "negative prompt"
 */
export function readConditioning(
  graph: Graph,
  node: GraphNode,
  input: string,
  which: string,
  visited: Set<GraphNode> = new Set(),
): ReadConditioning {
  const nothing = { text: null, written: null, zeroed: false, encoder: null, notes: [] };
  const from = linked(graph, node, input)?.node;
  if (from === undefined) {
    return { ...nothing, unread: [`The ${which} is linked to nothing that is known.`] };
  }
  if (visited.has(from) || visited.size === longestWay) {
    return { ...nothing, unread: [`The links behind ${nodeTitle(from)} have no end.`] };
  }
  visited.add(from);
  const follow = (name: string) => readConditioning(graph, from, name, which, visited);

  if (from.type === "ConditioningZeroOut") return { ...follow("conditioning"), zeroed: true };
  const both = joining.get(from.type);
  if (both !== undefined) return joined(from, which, both.map(follow));
  const names = Object.keys(from.inputs);
  const textName = ["text", "prompt", "user_prompt"].find((name) => names.includes(name));
  if (textName !== undefined) return readText(graph, from, textName, which);
  const next = ["conditioning", "conditioning_to", input].find(
    (name) => linked(graph, from, name) !== undefined,
  );
  if (next === undefined) {
    return {
      ...nothing,
      unread: [`The ${which} comes from ${nodeTitle(from)}, which is not known.`],
    };
  }
  const read = follow(next);
  return { ...read, notes: [...read.notes, `${nodeTitle(from)} changes the ${which}.`] };
}

function joined(
  node: GraphNode,
  which: string,
  parts: readonly ReadConditioning[],
): ReadConditioning {
  const [first, ...others] = parts;
  const texts = others.map(({ written }) => (written === null ? "one" : JSON.stringify(written)));
  return {
    ...first!,
    notes: [
      ...parts.flatMap(({ notes }) => notes),
      `The ${which} is not one text: ${nodeTitle(node)} adds ${texts.join(", ")} to it.`,
    ],
    unread: parts.flatMap(({ unread }) => unread),
  };
}

function readText(graph: Graph, node: GraphNode, name: string, which: string): ReadConditioning {
  const found = findString(graph, node, name);
  if (found === undefined) {
    return {
      text: null,
      written: null,
      zeroed: false,
      encoder: node,
      notes: [],
      unread: [`The text of ${nodeTitle(node)} is made by nodes that are not known.`],
    };
  }
  const notes: string[] = [];
  if (found.guessedFrom !== null) {
    notes.push(`The ${which} is taken from ${nodeTitle(found.guessedFrom)}, which is not known.`);
  }
  // ComfyUI reads the two escapes though Z-Image's prompts have no weights (comfy/sd1_clip.py).
  const text = found.value.replaceAll("\\(", "(").replaceAll("\\)", ")");
  if (text !== found.value) {
    notes.push(`ComfyUI drops the backslash before a parenthesis in the ${which}.`);
  }
  if (/\bembedding:/.test(text)) notes.push(`The ${which} names an embedding file.`);
  if (Object.hasOwn(node.inputs, "system_prompt")) {
    notes.push(`${nodeTitle(node)} puts a system prompt before the ${which}.`);
  }
  return { text, written: found.value, zeroed: false, encoder: node, notes, unread: [] };
}

/** A conditioning that guides away from itself. */
export function asNegative({ text, zeroed }: ReadConditioning): Negative | null {
  if (zeroed) return { kind: "zeros" };
  return text === null ? null : { kind: "text", text };
}
