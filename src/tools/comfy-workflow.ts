import { InputError } from "../errors.ts";
import type { JsonValue } from "../wire/python-json.ts";
import type { Graph, GraphNode } from "./comfy-graph.ts";
import { mostNodes } from "./comfy-graph.ts";
import { widgetValues } from "./comfy-widgets.ts";
import { isObject } from "./tool-json.ts";

type Json = { readonly [key: string]: JsonValue };

interface Link {
  readonly from: string;
  readonly slot: number;
  readonly to: string;
  readonly toSlot: number;
}

/** Nodes and links of one sheet of the editor: the workflow, or a subgraph in it. */
interface Sheet {
  /** Of its nodes' ids: "57:" inside of node 57. */
  readonly prefix: string;
  readonly nodes: ReadonlyMap<string, Json>;
  readonly links: ReadonlyMap<string, Link>;
  /** Those to its own outputs, by slot. */
  readonly ends: ReadonlyMap<number, Link>;
  /** The node that this sheet is the inside of, and what its inputs are called. */
  readonly outer: {
    readonly sheet: Sheet;
    readonly node: Json;
    readonly inputs: readonly string[];
  } | null;
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
  const definitions = new Map<string, Json>();
  const { subgraphs } = isObject(workflow.definitions) ? workflow.definitions : {};
  for (const subgraph of Array.isArray(subgraphs) ? subgraphs : []) {
    if (isObject(subgraph)) definitions.set(String(subgraph.id), subgraph);
  }
  const sheets = new Map<string, Sheet>();
  const graph = new Map<string, GraphNode>();
  const top = sheetOf(workflow, "", null);

  function open(sheet: Sheet, depth: number): void {
    if (depth > deepest) throw new InputError("The ComfyUI workflow nests subgraphs too deep.");
    for (const [id, node] of sheet.nodes) {
      if (sheets.size + graph.size >= mostNodes) {
        throw new InputError(`The ComfyUI workflow has more than ${mostNodes} nodes.`);
      }
      const definition = definitions.get(String(node.type));
      if (definition !== undefined) {
        const inputs = objects(definition.inputs).map(({ name }) => String(name));
        const inner = sheetOf(definition, `${sheet.prefix}${id}:`, { sheet, node, inputs });
        sheets.set(inner.prefix, inner);
        open(inner, depth + 1);
        continue;
      }
      const key = `${sheet.prefix}${id}`;
      graph.set(key, { id: key, type: String(node.type), inputs: {} });
    }
  }
  open(top, 0);

  /** Where a link begins: a node of the graph, or a value. */
  function source(sheet: Sheet, from: string, slot: number, way = 0): JsonValue | undefined {
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
    const found = sheet.links.get(String(link));
    return found === undefined ? undefined : source(sheet, found.from, found.slot, way + 1);
  }

  function fromOutside({ outer }: Sheet, slot: number, way: number): JsonValue | undefined {
    const name = outer?.inputs[slot];
    if (outer == null || name === undefined) return undefined;
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
  const named = entries.flatMap(({ name, widget }) => (isObject(widget) ? [String(name)] : []));
  const values = new Map(
    Object.entries(widgetValues(String(node.type), node.widgets_values, named)),
  );
  for (const name of sheet.outer === null ? [] : values.keys()) {
    const outside = proxied(sheet.outer!.node, id, name);
    if (outside !== undefined) values.set(name, outside);
  }
  for (const { name, link } of entries) {
    if (link == null) continue;
    const value = linkSource(sheet, link, 0);
    if (value !== undefined) values.set(String(name), value);
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
    (proxy) => Array.isArray(proxy) && String(proxy[0]) === id && proxy[1] === name,
  );
  return values[at] ?? undefined;
}

function sheetOf(source: Json, prefix: string, outer: Sheet["outer"]): Sheet {
  const nodes = objects(source.nodes).map((node) => [String(node.id), node] as const);
  const links = new Map<string, Link>();
  for (const link of Array.isArray(source.links) ? source.links : []) {
    // The workflow's own are lists, a subgraph's are objects.
    if (Array.isArray(link)) {
      const [id, from, slot, to, toSlot] = link;
      links.set(String(id), linkOf(from, slot, to, toSlot));
    } else if (isObject(link)) {
      const { id, origin_id, origin_slot, target_id, target_slot } = link;
      links.set(String(id), linkOf(origin_id, origin_slot, target_id, target_slot));
    }
  }
  const ends = new Map<number, Link>();
  for (const link of links.values()) {
    if (link.to === outputNode && !ends.has(link.toSlot)) ends.set(link.toSlot, link);
  }
  return { prefix, nodes: new Map(nodes), links, ends, outer };
}

function linkOf(
  from: JsonValue | undefined,
  slot: JsonValue | undefined,
  to: JsonValue | undefined,
  toSlot: JsonValue | undefined,
): Link {
  return { from: String(from), slot: Number(slot), to: String(to), toSlot: Number(toSlot) };
}

function objects(value: JsonValue | undefined): { [key: string]: JsonValue }[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}
