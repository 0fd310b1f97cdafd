import { basename, dirname, join } from "node:path";
import { InputError } from "../errors.ts";
import { openRegular, readExactly } from "../files/read.ts";
import type { DecodedImage } from "../image/decode-image.ts";
import { decodeImage } from "../image/decode-image.ts";
import type { ProfileName } from "../job/request.ts";
import { profileNames } from "../job/request.ts";
import { fileName } from "../tools/differences.ts";
import { readPicture } from "../tools/picture.ts";
import type { ToolSettings } from "../tools/settings.ts";
import { readJobFolder } from "./job-folder.ts";
import { planRetakes } from "./plan.ts";
import { settingsOfShot } from "./settings-of-shot.ts";
import type { Shot } from "./shot.ts";
import type { TrainedLora } from "./trained-loras.ts";

/** A LoRA's file that a picture's settings may name. */
export type NamedLora = Pick<TrainedLora, "file" | "path">;

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
  readonly loras: readonly NamedLora[];
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
  loras: readonly NamedLora[],
): Promise<ComparedPicture> {
  const bytes = await readWhole(path);
  const image = await decodeImage(bytes, path);
  const known = { path, bytes, image };
  if (basename(dirname(path)) === "samples") {
    const preview = await asPreview(path);
    if (preview !== null) return { ...known, made: "preview", ...preview };
  }
  try {
    const { settings } = await readPicture(bytes);
    const { shots, notes } = settings.tool === "retake" ? shotsOf(settings, loras) : none;
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
  const job = await readJobFolder(path).catch((error: unknown) => {
    if (error instanceof InputError) return null;
    throw error;
  });
  if (job === null) return null;
  const [sample] = planRetakes(job).samples;
  if (sample === undefined) return null;
  const shots = sample.candidates.map(({ rounding, request }) => ({
    model: sample.model,
    rounding,
    request,
  }));
  const settings = shots[0] === undefined ? null : settingsOfShot(shots[0]);
  const notes =
    sample.reason === null ? [] : [`the preview can't be taken again: ${sample.reason}`];
  return { settings, shots, loras: job.loras, notes };
}

/** A picture of ours says all of its request; its LoRAs are found by their names. */
function shotsOf(
  settings: ToolSettings,
  loras: readonly NamedLora[],
): Pick<ComparedPicture, "shots" | "notes"> {
  const { model, prompt, negative, width, height, steps, cfgOwn, seed } = settings;
  const profile = profileNames.find((name) => name === settings.own.scheduler?.value);
  const found = settings.loras.map(({ name, strength }) => ({
    name,
    path: loras.find(({ file }) => fileName(file) === fileName(name))?.path,
    multiplier: strength,
  }));
  const missing = found.find(({ path }) => path === undefined);
  if (missing !== undefined)
    return {
      shots: [],
      notes: [`the LoRA ${missing.name} is not at hand: name its file as --lora`],
    };
  const isWhole = [model, prompt, width, height, steps, cfgOwn, seed, profile].every(
    (one) => one != null,
  );
  if (!isWhole) return { shots: [], notes: ["what Retake wrote into the picture is not whole"] };
  const request = {
    prompt: prompt!,
    negativePrompt: negative?.kind === "text" ? negative.text : "",
    width: width!,
    height: height!,
    steps: steps!,
    guidanceScale: cfgOwn!.value,
    seed: seed!,
    profile: profile as ProfileName,
    loras: found.map(({ path, multiplier }) => ({ path: path!, multiplier })),
  };
  return { shots: [{ model: model!, rounding: null, request }], notes: [] };
}

/** A file beside the command, as a LoRA that a picture may name. */
export function namedLora(path: string): NamedLora {
  return { file: basename(path), path: join(path) };
}
