import { InputError } from "../errors.ts";
import { parseGraph } from "../tools/comfy-graph.ts";
import { workflowGraph } from "../tools/comfy-workflow.ts";
import { readComfyGraph } from "../tools/comfyui.ts";
import { readPicture } from "../tools/picture.ts";
import { retakeFields } from "../tools/retake.ts";
import { isObject, parseToolJson } from "../tools/tool-json.ts";
import type { JsonValue } from "../wire/python-json.ts";
import { baseModelOf } from "./base-model.ts";
import { largestConfig } from "./config-text.ts";
import { readJobConfig } from "./job-config.ts";
import { filled } from "./job-folder.ts";
import type { Environment } from "./placeholders.ts";
import { stateBody } from "./state-body.ts";
import { requireKnown, statePicture } from "./state-picture.ts";
import { stateRetake } from "./state-retake.ts";
import { stateSample } from "./state-sample.ts";
import type { StatedRequest } from "./stated-request.ts";

export interface StateOptions {
  /** Which sample or prompt, where there are several. */
  readonly sample?: number | undefined;
  /** What `${VAR}` in a job's configuration stands for. */
  readonly environment?: Environment;
}

/** First bytes of the pictures that are read. */
const pictures = ["\x89PNG", "\xff\xd8\xff", "RIFF"];

/** Where a graph says no size, the usual one counts. */
const usual = { width: 1024, height: 1024 };

/**
 * The request that a file states: a picture of Retake or another tool, a request of the reference server, a
 * ComfyUI graph, or a training job's configuration.
 *
 * @param file its name, for messages
 * @throws InputError if it is none of these, or can't be used
 */
export async function stateFile(
  bytes: Uint8Array,
  file: string,
  { sample, environment = {} }: StateOptions = {},
): Promise<StatedRequest> {
  const head = Buffer.from(bytes.subarray(0, 4)).toString("latin1");
  if (pictures.some((mark) => head.startsWith(mark))) {
    onlyOne(sample, "a picture");
    const { settings, embedded } = await readPicture(bytes);
    const own = embedded.texts.map(({ text }) => retakeFields(text)).find((found) => found);
    if (settings.tool === "retake" && own !== undefined) return stateRetake(own);
    requireKnown(settings);
    return statePicture(settings, embedded);
  }
  const text = textOf(bytes, file);
  const json = /^\s*\{/.test(text) ? jsonOf(text) : undefined;
  if (json === undefined || "config" in json) {
    const config = readJobConfig(filled(text, file, environment), file);
    return stateSample(config, baseModelOf(config), sample, file);
  }
  if ("prompts" in json) return stateBody(json, sample);
  onlyOne(sample, "it");
  const own = retakeFields(text);
  if (own !== undefined) return stateRetake(own);
  const graph = Array.isArray(json.nodes) ? workflowGraph(json) : graphOf(json);
  if (graph === undefined) throw unknown(file);
  const settings = readComfyGraph(graph, usual);
  requireKnown(settings);
  const { width, height } = settings;
  return statePicture(settings, width === null || height === null ? usual : { width, height });
}

function graphOf(json: { readonly [key: string]: JsonValue }) {
  const isGraph = Object.values(json).some((node) => isObject(node) && "class_type" in node);
  return isGraph ? parseGraph({ ...json }) : undefined;
}

/** YAML may begin with a brace too. */
function jsonOf(text: string): { [key: string]: JsonValue } | undefined {
  try {
    const json = parseToolJson(text, "It");
    return isObject(json) ? json : undefined;
  } catch (error) {
    if (error instanceof InputError) return undefined;
    throw error;
  }
}

function textOf(bytes: Uint8Array, file: string): string {
  if (bytes.length > largestConfig) throw unknown(file);
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (!text.includes("\0")) return text;
  } catch {
    // No text: what is wrong is said below.
  }
  throw unknown(file);
}

function onlyOne(sample: number | undefined, what: string): void {
  if (sample !== undefined && sample !== 0)
    throw new InputError(`sample ${sample}: ${what} holds one request, number 0.`);
}

function unknown(file: string): InputError {
  return new InputError(
    `${file} states no request: give a picture of Retake, ComfyUI, A1111 or its kin (PNG, JPEG, WebP), ` +
      "a request of the reference server (JSON), a ComfyUI graph (JSON), or an ai-toolkit job's configuration.",
  );
}
