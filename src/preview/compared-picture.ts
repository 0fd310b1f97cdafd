import { basename, dirname } from "node:path";
import { InputError } from "../errors.ts";
import { hashFile } from "../files/hash.ts";
import { openRegular, readExactly } from "../files/read.ts";
import type { DecodedImage } from "../image/decode-image.ts";
import { decodeImage } from "../image/decode-image.ts";
import { fileName } from "../tools/differences.ts";
import { readPicture } from "../tools/picture.ts";
import { retakeFields } from "../tools/retake.ts";
import type { ToolSettings } from "../tools/settings.ts";
import { readJobFolder } from "./job-folder.ts";
import { planRetakes } from "./plan.ts";
import { settingsOfShot } from "./settings-of-shot.ts";
import type { Shot } from "./shot.ts";
import { stateRetake } from "./state-retake.ts";
import type { StatedLora, StatedRequest } from "./stated-request.ts";
import type { TrainedLora } from "./trained-loras.ts";

/** A LoRA's file that a picture's settings may name. */
export type LoraFile = Pick<TrainedLora, "file" | "path">;

/** A picture, and what is known of how it was made. */
export interface ComparedPicture {
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly image: DecodedImage;
  /** `preview`: of a job's folder; `retake`: one of ours; a tool's name; `unknown`: it says nothing. */
  readonly made: "preview" | "unknown" | ToolSettings["tool"];
  readonly settings: ToolSettings | null;
  /** How it is drawn again, the likely way first; empty if that isn't known. */
  readonly shots: readonly Shot[];
  /** Of its job. */
  readonly loras: readonly LoraFile[];
  /** Why something is not known. */
  readonly notes: readonly string[];
}

/** Four times as much as a picture of 8192 x 8192 takes in PNG without compression. */
const largestPicture = 2 ** 30;

/**
 * Reads a picture and what tells how it was made: the job whose preview it is, or what a tool wrote into it.
 *
 * @param loras files that its settings may name, beside its job's
 * @throws InputError if it can't be read
 */
export async function readComparedPicture(
  path: string,
  loras: readonly LoraFile[],
): Promise<ComparedPicture> {
  const bytes = await readWhole(path);
  const image = await decodeImage(bytes, path);
  const known = { path, bytes, image };
  if (basename(dirname(path)) === "samples") {
    const preview = await asPreview(path);
    if (preview !== null) return { ...known, made: "preview", ...preview };
  }
  try {
    const { settings, embedded } = await readPicture(bytes);
    const own = embedded.texts.map(({ text }) => retakeFields(text)).find((fields) => fields);
    const isOwn = settings.tool === "retake" && own !== undefined;
    const { shots, notes } = isOwn ? await shotsOf(stateRetake(own), loras) : none;
    return { ...known, made: settings.tool, settings, shots, loras, notes };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { ...known, made: "unknown", settings: null, shots: [], loras, notes: [error.message] };
  }
}

const none = { shots: [], notes: [] } as const;

async function readWhole(path: string): Promise<Uint8Array> {
  const { handle, size } = await openRegular(path, "picture");
  try {
    if (size > largestPicture) throw new InputError(`${path} has ${size} bytes: it is no picture.`);
    const bytes = new Uint8Array(size);
    await readExactly(handle, bytes, 0, path);
    return bytes;
  } finally {
    await handle.close();
  }
}

/** null: it lies in a folder of that name that is no job's. */
async function asPreview(
  path: string,
): Promise<Pick<ComparedPicture, "settings" | "shots" | "loras" | "notes"> | null> {
  let loras: readonly LoraFile[] | null = null;
  try {
    const job = await readJobFolder(path);
    loras = job.loras;
    const [sample] = planRetakes(job).samples;
    const { model, candidates, reason } = sample!; // the one that was named
    const shots = candidates.map(({ rounding, request }) => ({ model, rounding, request }));
    const settings = shots[0] === undefined ? null : settingsOfShot(shots[0]);
    const notes = reason === null ? [] : [`the preview can't be taken again: ${reason}`];
    return { settings, shots, loras, notes };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    if (loras === null) return null;
    const notes = [`the preview can't be taken again: ${error.message}`];
    return { settings: null, shots: [], loras, notes };
  }
}

/** A picture of ours says all of its request; its LoRAs are found by their names, or by what they hold. */
async function shotsOf(
  stated: StatedRequest,
  loras: readonly LoraFile[],
): Promise<Pick<ComparedPicture, "shots" | "notes">> {
  const { model, request, asTrained: rounding, warnings } = stated;
  const found: { path: string; multiplier: number }[] = [];
  for (const lora of stated.loras) {
    const path = await fileOf(lora, loras);
    if (path === undefined) {
      const missing = `the LoRA ${lora.name} is not at hand: name its file as --lora`;
      return { shots: [], notes: [...warnings, missing] };
    }
    found.push({ path, multiplier: lora.multiplier });
  }
  const { prompt } = request;
  if (model === null || prompt === undefined) {
    return { shots: [], notes: [...warnings, "what Retake wrote into the picture is not whole"] };
  }
  return {
    shots: [{ model, rounding, request: { ...request, prompt, loras: found } }],
    notes: warnings,
  };
}

async function fileOf(
  { name, sha256 }: StatedLora,
  loras: readonly LoraFile[],
): Promise<string | undefined> {
  const named = loras.find(({ file }) => fileName(file) === fileName(name));
  if (named !== undefined || sha256 === null) return named?.path;
  for (const { path } of loras) if ((await hashFile(path, "sha256")) === sha256) return path;
  return undefined;
}

/** A file beside the command, as a LoRA that a picture may name. */
export function loraFileAt(path: string): LoraFile {
  return { file: basename(path), path };
}
