import type { Graph, GraphNode } from "./comfy-graph.ts";
import { linked, literal, nodeTitle } from "./comfy-graph.ts";

/** Whether a node denoises: ComfyUI's own three kinds, and nodes of others that take the same inputs. */
function isSampler(graph: Graph, node: GraphNode): boolean {
  if (node.type === "SamplerCustomAdvanced" || node.type === "SamplerCustom") return true;
  const has = (name: string) => Object.hasOwn(node.inputs, name);
  if (!has("steps")) return false;
  const hasLinks = ["model", "positive", "latent_image"].every(
    (name) => linked(graph, node, name) !== undefined,
  );
  // Some take model and prompts through one input, a pipe.
  return hasLinks || (/sampler/i.test(node.type) && (has("seed") || has("noise_seed")));
}

/** Inputs that carry the picture itself, before it is decoded or after. */
const pictureInputs = [
  "images",
  "image",
  "pixels",
  "samples",
  "latent_image",
  "latent",
  "latents",
  "output",
];

/** Inputs that lead to what conditions a picture. */
const otherInputs = new Set([
  "model",
  "clip",
  "vae",
  "positive",
  "negative",
  "conditioning",
  "mask",
  "control_net",
  "upscale_model",
]);

/** Nodes that leave the picture as it is. */
const plain = new Set([
  "VAEDecode",
  "SaveImage",
  "PreviewImage",
  "SaveAnimatedWEBP",
  "SaveAnimatedPNG",
  "SaveImageWebsocket",
]);

interface Passage {
  /** The node that denoised last. */
  readonly sampler: GraphNode;
  /** What stands between it and the start, and changes the picture. */
  readonly between: readonly GraphNode[];
  readonly decoders: readonly GraphNode[];
}

/** Follows the picture back from a node to what denoised it last, by the shortest way. */
function samplerBehind(graph: Graph, start: GraphNode): Passage | undefined {
  const from = new Map<GraphNode, GraphNode | null>([[start, null]]);
  for (const node of from.keys()) {
    if (node !== start && isSampler(graph, node)) {
      const nodes = way(from, node);
      return {
        sampler: node,
        between: nodes.filter(({ type }) => !plain.has(type)),
        decoders: nodes.filter(({ type }) => type.startsWith("VAEDecode")),
      };
    }
    const names = Object.keys(node.inputs).filter((name) => !otherInputs.has(name));
    const first = pictureInputs.filter((name) => Object.hasOwn(node.inputs, name));
    for (const name of [...first, ...names]) {
      const next = linked(graph, node, name)?.node;
      if (next !== undefined && !from.has(next)) from.set(next, node);
    }
  }
  return undefined;
}

/** The nodes between the start and a node, both left out. */
function way(from: ReadonlyMap<GraphNode, GraphNode | null>, end: GraphNode): GraphNode[] {
  const nodes: GraphNode[] = [];
  for (let node = from.get(end); node; node = from.get(node)) nodes.push(node);
  return nodes.slice(0, -1);
}

/** More nodes than save in one graph. */
const mostEnds = 64;

export interface Chosen extends Passage {
  readonly notes: readonly string[];
}

/**
 * The sampler of the picture that a graph's file holds: behind the node that saves. Where several save, the
 * file doesn't say which one wrote it.
 *
 * @param fits whether a sampler's latents have the picture's size
 */
export function findSampler(
  graph: Graph,
  fits: (sampler: GraphNode) => boolean,
): Chosen | undefined {
  const nodes = [...graph.values()];
  const ends = (pattern: RegExp) =>
    nodes
      .filter(({ type }) => pattern.test(type))
      .slice(-mostEnds)
      .flatMap((end) => {
        const passage = samplerBehind(graph, end);
        return passage === undefined ? [] : [{ ...passage, end }];
      });
  const saving = ends(/save/i);
  const found = saving.length > 0 ? saving : ends(/preview/i);
  if (found.length === 0) {
    const samplers = nodes.filter((node) => isSampler(graph, node));
    const last = samplers.findLast(fits) ?? samplers.at(-1);
    if (last === undefined) return undefined;
    const notes = [`No node of the graph saves a picture: ${nodeTitle(last)} is taken.`];
    return { sampler: last, between: [], decoders: [], notes };
  }
  const chosen = found.find(({ sampler }) => fits(sampler)) ?? found.at(-1)!;
  const others = new Set(found.map(({ sampler }) => sampler));
  const notes =
    others.size < 2
      ? []
      : [
          `The graph saves pictures of ${others.size} samplers, and the file doesn't say which one it ` +
            `is from: ${nodeTitle(chosen.sampler)} is taken.`,
        ];
  return { ...chosen, notes };
}

/** More nodes than stand before a sampler. */
const longestWay = 500;

export interface Latents {
  /** The node that makes empty ones. */
  readonly empty: GraphNode | null;
  /** A sampler that drew before. */
  readonly earlier: GraphNode | null;
  readonly notes: readonly string[];
}

/** What a sampler starts from. */
export function latentsOf(
  graph: Graph,
  sampler: GraphNode,
  visited: Set<GraphNode> = new Set(),
): Latents {
  const notes: string[] = [];
  let node = linked(graph, sampler, "latent_image")?.node;
  while (node !== undefined && !visited.has(node) && visited.size < longestWay) {
    visited.add(node);
    if (isSampler(graph, node)) {
      notes.push(`${nodeTitle(node)} had drawn before: the picture has two passes.`);
      const before = latentsOf(graph, node, visited);
      return { ...before, earlier: node, notes: [...notes, ...before.notes] };
    }
    if (/^Empty.*Latent/.test(node.type)) return { empty: node, earlier: null, notes };
    if (/^VAEEncode/.test(node.type)) {
      notes.push(`The picture was drawn over another one (${nodeTitle(node)}).`);
      return { empty: null, earlier: null, notes };
    }
    const next =
      linked(graph, node, "samples") ??
      linked(graph, node, "latent") ??
      linked(graph, node, "latent_image");
    if (next === undefined) {
      const isEmpty = literal(node, "width") !== undefined && literal(node, "height") !== undefined;
      if (!isEmpty) notes.push(`The latents come from ${nodeTitle(node)}, which is not known.`);
      return { empty: isEmpty ? node : null, earlier: null, notes };
    }
    notes.push(`Before it was drawn, ${nodeTitle(node)} changed the latents.`);
    node = next.node;
  }
  return { empty: null, earlier: null, notes };
}
