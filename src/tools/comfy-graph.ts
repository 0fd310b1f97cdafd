import { InputError } from "../errors.ts";
import type { JsonValue } from "../wire/python-json.ts";
import { isObject, plainNumber } from "./tool-json.ts";

/** One node of a ComfyUI graph, as its API takes them. */
export interface GraphNode {
  readonly id: string;
  /** The node's class. */
  readonly type: string;
  /** Values, and links [node, slot]. */
  readonly inputs: Readonly<Record<string, JsonValue>>;
}

export type Graph = ReadonlyMap<string, GraphNode>;

/** Larger graphs than people build. */
export const mostNodes = 5000;
/** Of all nodes. A stranger's graph is walked several times over. */
export const mostInputs = 20_000;

/** @throws InputError if it is no graph */
export function parseGraph(value: JsonValue): Graph {
  if (!isObject(value)) throw new InputError("The ComfyUI graph is not an object of nodes.");
  const entries = Object.entries(value);
  if (entries.length > mostNodes) {
    throw new InputError(`The ComfyUI graph has more than ${mostNodes} nodes.`);
  }
  const graph = new Map<string, GraphNode>();
  let count = 0;
  for (const [id, node] of entries) {
    if (!isObject(node) || typeof node.class_type !== "string") continue;
    const inputs = isObject(node.inputs) ? node.inputs : {};
    count += Object.keys(inputs).length;
    if (count > mostInputs)
      throw new InputError(`The ComfyUI graph's nodes have more than ${mostInputs} inputs.`);
    graph.set(id, { id, type: node.class_type, inputs });
  }
  if (graph.size === 0) throw new InputError("The ComfyUI graph holds no node.");
  return graph;
}

/** The node that an input is linked to. */
export function linked(
  graph: Graph,
  node: GraphNode,
  input: string,
): { readonly node: GraphNode; readonly slot: number } | undefined {
  const value = own(node, input);
  if (!Array.isArray(value) || value.length !== 2) return undefined;
  const [id, slot] = value;
  if (typeof id !== "string" && typeof id !== "number") return undefined;
  const found = graph.get(String(id));
  return found === undefined ? undefined : { node: found, slot: plainNumber(slot) };
}

/** An input that stands in the node itself. */
export function literal(node: GraphNode, input: string): string | number | bigint | undefined {
  const value = own(node, input);
  return typeof value === "string" || typeof value === "number" || typeof value === "bigint"
    ? value
    : undefined;
}

function own(node: GraphNode, input: string): JsonValue | undefined {
  return Object.hasOwn(node.inputs, input) ? node.inputs[input] : undefined;
}

/** As notes call a node. */
export function nodeTitle({ type, id }: GraphNode): string {
  return `${type} (node ${id})`;
}

/** Names under which nodes that only hold a value keep it. */
const valueNames = ["value", "text", "string", "seed", "noise_seed", "int", "float", "number"];

export interface FoundValue<T> {
  readonly value: T;
  /** The node that held it, where it is of a kind that is not known. */
  readonly guessedFrom: GraphNode | null;
}

/** A number that stands in an input or in what it is linked to. */
export function findNumber(
  graph: Graph,
  node: GraphNode,
  input: string,
): FoundValue<number | bigint> | undefined {
  const found = findValue(graph, node, input, (value) => typeof value !== "string", { count: 0 });
  if (found === undefined || typeof found.value === "string") return undefined;
  return { value: found.value, guessedFrom: found.guessedFrom };
}

/** A text that stands in an input or in what it is linked to. */
export function findString(
  graph: Graph,
  node: GraphNode,
  input: string,
): FoundValue<string> | undefined {
  const found = findValue(graph, node, input, (value) => typeof value === "string", { count: 0 });
  if (typeof found?.value !== "string") return undefined;
  return { value: found.value, guessedFrom: found.guessedFrom };
}

type Literal = string | number | bigint;

/** How many inputs are looked at for one value: the links may form loops, and join without end. */
const mostLooked = 500;

/** In characters. */
const longestJoined = 2 ** 20;

function findValue(
  graph: Graph,
  node: GraphNode,
  input: string,
  wanted: (value: Literal) => boolean,
  looked: { count: number },
): FoundValue<Literal> | undefined {
  const here = literal(node, input);
  if (here !== undefined) return wanted(here) ? { value: here, guessedFrom: null } : undefined;
  const from = linked(graph, node, input)?.node;
  if (from === undefined || looked.count++ >= mostLooked) return undefined;
  if (from.type === "StringConcatenate") return concatenated(graph, from, wanted, looked);
  const known = from.type.startsWith("Primitive");
  for (const name of known ? ["value"] : [input, ...valueNames]) {
    const found = findValue(graph, from, name, wanted, looked);
    if (found !== undefined) return known ? found : { ...found, guessedFrom: from };
  }
  return undefined;
}

function concatenated(
  graph: Graph,
  node: GraphNode,
  wanted: (value: Literal) => boolean,
  looked: { count: number },
): FoundValue<Literal> | undefined {
  const parts = ["string_a", "delimiter", "string_b"].map((name) =>
    findValue(graph, node, name, wanted, looked),
  );
  const [first, between, second] = parts;
  if (first === undefined || second === undefined) return undefined;
  const value = `${first.value}${between?.value ?? ""}${second.value}`;
  if (value.length > longestJoined) return undefined;
  return { value, guessedFrom: first.guessedFrom ?? second.guessedFrom };
}
