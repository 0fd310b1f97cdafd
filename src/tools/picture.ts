import { InputError } from "../errors.ts";
import type { EmbeddedText, EmbeddedTexts } from "../image/embedded-text.ts";
import { readEmbeddedTexts } from "../image/embedded-text.ts";
import { readInfotext } from "./a1111.ts";
import { parseGraph } from "./comfy-graph.ts";
import { workflowGraph } from "./comfy-workflow.ts";
import { readComfyGraph } from "./comfyui.ts";
import { readDrawThings } from "./draw-things.ts";
import { parseInfotext } from "./infotext.ts";
import { readInvoke } from "./invokeai.ts";
import { readMflux } from "./mflux.ts";
import { readRetake } from "./retake.ts";
import type { ToolLora, ToolSettings } from "./settings.ts";
import { readSwarm } from "./swarmui.ts";
import { parseToolJson } from "./tool-json.ts";

export interface ReadPicture {
  readonly settings: ToolSettings;
  /** Every text in the file, as it stands there. */
  readonly embedded: EmbeddedTexts;
}

/** Whether a text is a reader's, and what it says then. */
type Reader = (text: EmbeddedText, picture: EmbeddedTexts) => ToolSettings | undefined;

/** The first that knows one of the texts counts: a graph before an infotext that a node wrote beside it. */
const readers: readonly Reader[] = [
  (text, picture) => {
    const prompt = comfyText("prompt", text);
    if (prompt === undefined) return undefined;
    return readComfyGraph(parseGraph(parseToolJson(prompt, "The ComfyUI graph")), picture);
  },
  ({ name, text }) => (name === "invokeai_metadata" ? readInvoke(text) : undefined),
  ({ text }) => readSwarm(text) ?? readDrawThings(text) ?? readMflux(text) ?? readRetake(text),
  ({ text }) => {
    const infotext = parseInfotext(text);
    return infotext === undefined ? undefined : readInfotext(infotext);
  },
  (text, picture) => {
    const workflow = comfyText("workflow", text);
    if (workflow === undefined) return undefined;
    const graph = workflowGraph(parseToolJson(workflow, "The ComfyUI workflow"));
    const settings = readComfyGraph(graph, picture);
    return { ...settings, notes: [asItStoodInTheEditor, ...settings.notes] };
  },
];

const asItStoodInTheEditor =
  "The file holds no graph, only the editor's workflow: what ran may have had other values, the seed above all.";

/** PNG: a chunk of that name. WebP: a tag of Exif, Model or another, with the word before the graph. */
function comfyText(word: string, { name, text }: EmbeddedText): string | undefined {
  if (name === word && /^\s*\{/.test(text)) return text;
  const isBehind = text.slice(0, word.length + 1).toLowerCase() === `${word}:`;
  const behind = text.slice(word.length + 1);
  return isBehind && /^\s*\{/.test(behind) ? behind : undefined;
}

/**
 * Reads what the tool that made a picture wrote into it.
 *
 * @throws InputError if it is no picture, or nothing in it is of a tool that is known
 */
export async function readPicture(bytes: Uint8Array): Promise<ReadPicture> {
  const embedded = await readEmbeddedTexts(bytes);
  for (const read of readers) {
    for (const text of embedded.texts) {
      const settings = read(text, embedded);
      if (settings !== undefined) return { settings: withProblems(settings, embedded), embedded };
    }
  }
  throw new InputError(nothingKnown(embedded));
}

/** Adds what the file's own damage hides; a strength that is no number is no strength. */
function withProblems(settings: ToolSettings, { problems }: EmbeddedTexts): ToolSettings {
  const isKnown = ({ strength }: ToolLora) => Number.isFinite(strength);
  const unknown = settings.loras.filter((lora) => !isKnown(lora));
  return {
    ...settings,
    loras: settings.loras.filter(isKnown),
    unread: [
      ...settings.unread,
      ...unknown.map(({ name }) => `The strength of the LoRA ${name} is no number.`),
      ...problems,
    ],
  };
}

function nothingKnown({ texts, problems }: EmbeddedTexts): string {
  const names = texts.map(({ place, name }) => `${place} ${name}`.trim());
  const found = names.length === 0 ? "holds no text" : `holds only ${names.slice(0, 8).join(", ")}`;
  return (
    `The picture ${found}: no tool that is known wrote its parameters into it. ${problems.join(" ")} ` +
    "The trainer's previews and pictures that went through a chat or a web page have none."
  );
}
