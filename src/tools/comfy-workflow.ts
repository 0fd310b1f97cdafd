import { InputError } from "../errors.ts";
import type { JsonValue } from "../wire/python-json.ts";
import type { Graph, GraphNode } from "./comfy-graph.ts";
import { mostInputs, mostNodes } from "./comfy-graph.ts";
import { widgetValues } from "./comfy-widgets.ts";
import { isObject, plainNumber, plainText } from "./tool-json.ts";

type Json = { readonly [key: string]: JsonValue };

interface Link {
  readonly from: string;
  readonly slot: number;
  readonly to: string;
  readonly toSlot: number;
}

/** What the editor draws on one sheet: the workflow, or a subgraph in it. */
interface Drawing {
  readonly nodes: ReadonlyMap<string, Json>;
  readonly links: ReadonlyMap<string, Link>;
  /** Those to its own outputs, by slot. */
  readonly ends: ReadonlyMap<number, Link>;
  /** What a subgraph's own inputs are called. */
  readonly inputs: readonly string[];
}

interface Sheet extends Drawing {
  /** Of its nodes' ids: "57:" inside of node 57. */
  readonly prefix: string;
  /** The node that this sheet is the inside of. */
  readonly outer: { readonly sheet: Sheet; readonly node: Json } | null;
}

/** Stand for a subgraph's own inputs and outputs among the ends of its links. */
const inputNode = "-10";
const outputNode = "-20";

const deepest = 16;

/** Reroutes, bypassed nodes and subgraphs on the way of one link. */
const longestWay = 200;

/** Node modes of the editor. */
const muted = 2;
const bypassed = 4;

/**
 * The graph that the editor would hand to ComfyUI: subgraphs are opened, bypassed nodes are gone around. The
 * form was read in Comfy-Org/workflow_templates 0cbd31a4.
 *
 * @throws InputError if it is no workflow
 */
export function workflowGraph(workflow: JsonValue): Graph {
  if (!isObject(workflow) || !Array.isArray(workflow.nodes)) {
    throw new InputError("The ComfyUI workflow holds no list of nodes.");
  }
  const definitions = new Map<string, Drawing>();
  const { subgraphs } = isObject(workflow.definitions) ? workflow.definitions : {};
  for (const subgraph of Array.isArray(subgraphs) ? subgraphs : []) {
    if (isObject(subgraph)) definitions.set(word(subgraph.id), drawingOf(subgraph));
  }
  const sheets = new Map<string, Sheet>();
  const graph = new Map<string, GraphNode>();
  const top: Sheet = { ...drawingOf(workflow), prefix: "", outer: null };
  let count = 0;

  function open(sheet: Sheet, depth: number): void {
    if (depth > deepest) throw new InputError("The ComfyUI workflow nests subgraphs too deep.");
    for (const [id, node] of sheet.nodes) {
      if (sheets.size + graph.size >= mostNodes) {
        throw new InputError(`The ComfyUI workflow has more than ${mostNodes} nodes.`);
      }
      count += entriesIn(node);
      if (count > mostInputs) {
        throw new InputError(
          `The ComfyUI workflow's nodes have more than ${mostInputs} inputs, outputs and values.`,
        );
      }
      const definition = definitions.get(word(node.type));
      if (definition !== undefined) {
        const inner = { ...definition, prefix: `${sheet.prefix}${id}:`, outer: { sheet, node } };
        sheets.set(inner.prefix, inner);
        open(inner, depth + 1);
        continue;
      }
      const key = `${sheet.prefix}${id}`;
      graph.set(key, { id: key, type: word(node.type), inputs: {} });
    }
  }
  open(top, 0);

  const sources = new Map<string, JsonValue | undefined>();

  /** Where a link begins: a node of the graph, or a value. */
  function source(sheet: Sheet, from: string, slot: number, way = 0): JsonValue | undefined {
    const key = `${sheet.prefix}${from} ${slot}`;
    if (!sources.has(key)) {
      // A loop begins nowhere.
      sources.set(key, undefined);
      sources.set(key, followed(sheet, from, slot, way));
    }
    return sources.get(key);
  }

  function followed(sheet: Sheet, from: string, slot: number, way: number): JsonValue | undefined {
    if (way > longestWay) return undefined;
    if (from === inputNode) return fromOutside(sheet, slot, way);
    const node = sheet.nodes.get(from);
    if (node === undefined) return undefined;
    const inner = sheets.get(`${sheet.prefix}${from}:`);
    if (inner !== undefined) {
      const end = inner.ends.get(slot);
      return end === undefined ? undefined : source(inner, end.from, end.slot, way + 1);
    }
    if (node.type === "PrimitiveNode") {
      return Array.isArray(node.widgets_values) ? node.widgets_values[0] : undefined;
    }
    if (node.type !== "Reroute" && node.mode !== bypassed)
      return node.mode === muted ? undefined : [`${sheet.prefix}${from}`, slot];
    const wanted = objects(node.outputs)[slot]?.type;
    const same = objects(node.inputs).filter(
      ({ type, link }) => link != null && (node.type === "Reroute" || type === wanted),
    );
    return same[0] === undefined ? undefined : linkSource(sheet, same[0].link, way);
  }

  function linkSource(sheet: Sheet, link: JsonValue | undefined, way: number) {
    const found = sheet.links.get(word(link));
    return found === undefined ? undefined : source(sheet, found.from, found.slot, way + 1);
  }

  function fromOutside({ outer, inputs }: Sheet, slot: number, way: number): JsonValue | undefined {
    const name = inputs[slot];
    if (outer === null || name === undefined) return undefined;
    const input = objects(outer.node.inputs).find((entry) => entry.name === name);
    if (input?.link != null) return linkSource(outer.sheet, input.link, way);
    return proxied(outer.node, "-1", name);
  }

  for (const sheet of [top, ...sheets.values()]) {
    for (const [id, node] of sheet.nodes) {
      const key = `${sheet.prefix}${id}`;
      const found = graph.get(key);
      if (found === undefined) continue;
      if (node.mode === muted || node.mode === bypassed) graph.delete(key);
      else graph.set(key, { ...found, inputs: inputsOf(sheet, id, node, linkSource) });
    }
  }
  return graph;
}

function inputsOf(
  sheet: Sheet,
  id: string,
  node: Json,
  linkSource: (sheet: Sheet, link: JsonValue | undefined, way: number) => JsonValue | undefined,
): Record<string, JsonValue> {
  const entries = objects(node.inputs);
  const named = entries.flatMap(({ name, widget }) => (isObject(widget) ? [word(name)] : []));
  const values = new Map(Object.entries(widgetValues(word(node.type), node.widgets_values, named)));
  for (const name of sheet.outer === null ? [] : values.keys()) {
    const outside = proxied(sheet.outer!.node, id, name);
    if (outside !== undefined) values.set(name, outside);
  }
  for (const { name, link } of entries) {
    if (link == null) continue;
    const value = linkSource(sheet, link, 0);
    if (value !== undefined) values.set(word(name), value);
  }
  return Object.fromEntries(values);
}

/** More values than a node shows. */
const mostProxies = 1000;

/** A value that a subgraph's node shows on its outside; null there means the inside's own. */
function proxied(outer: Json, id: string, name: string): JsonValue | undefined {
  const { proxyWidgets } = isObject(outer.properties) ? outer.properties : {};
  const values = outer.widgets_values;
  if (!Array.isArray(values)) return undefined;
  const proxies = Array.isArray(proxyWidgets) ? proxyWidgets.slice(0, mostProxies) : [];
  const at = proxies.findIndex(
    (proxy) => Array.isArray(proxy) && word(proxy[0]) === id && proxy[1] === name,
  );
  return values[at] ?? undefined;
}

function drawingOf(source: Json): Drawing {
  const nodes = objects(source.nodes).map((node) => [word(node.id), node] as const);
  const links = new Map<string, Link>();
  for (const link of Array.isArray(source.links) ? source.links : []) {
    // The workflow's own are lists, a subgraph's are objects.
    if (Array.isArray(link)) {
      const [id, from, slot, to, toSlot] = link;
      links.set(word(id), linkOf(from, slot, to, toSlot));
    } else if (isObject(link)) {
      const { id, origin_id, origin_slot, target_id, target_slot } = link;
      links.set(word(id), linkOf(origin_id, origin_slot, target_id, target_slot));
    }
  }
  const ends = new Map<number, Link>();
  for (const link of links.values()) {
    if (link.to === outputNode && !ends.has(link.toSlot)) ends.set(link.toSlot, link);
  }
  const inputs = objects(source.inputs).map(({ name }) => word(name));
  return { nodes: new Map(nodes), links, ends, inputs };
}

function linkOf(
  from: JsonValue | undefined,
  slot: JsonValue | undefined,
  to: JsonValue | undefined,
  toSlot: JsonValue | undefined,
): Link {
  return { from: word(from), slot: plainNumber(slot), to: word(to), toSlot: plainNumber(toSlot) };
}

function objects(value: JsonValue | undefined): { [key: string]: JsonValue }[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** How much of a node is looked through for each of its links. */
function entriesIn({ inputs, outputs, widgets_values: values }: Json): number {
  const lengths = [inputs, outputs, values].map((part) =>
    Array.isArray(part) ? part.length : isObject(part) ? Object.keys(part).length : 0,
  );
  return lengths.reduce((sum, length) => sum + length, 0);
}

/** An id or a name; the empty one where a file has neither text nor number. */
function word(value: JsonValue | undefined): string {
  return plainText(value) ?? "";
}
