import { join } from "node:path";
import { CanceledError, InputError } from "../errors.ts";
import { hashFile } from "../files/hash.ts";
import { decodeImage } from "../image/decode-image.ts";
import { writeImage } from "../image/write-image.ts";
import type { Generated, StepProgress } from "../pipeline/generate.ts";
import type { ReportSample } from "../wire/report.ts";
import type { Inputs } from "./inputs.ts";
import type { Judgement } from "./judge.ts";
import { judge } from "./judge.ts";
import type { Notebook } from "./notebook.ts";
import type { PlannedSample, Reading } from "./plan.ts";
import { readPreview } from "./preview-files.ts";
import type { Renderer } from "./renderer.ts";
import { sizeOfShot } from "./shot.ts";

/** A picture that was drawn, or why not. */
export interface Taken {
  /** Beside the report; null: it could not be drawn. */
  readonly picture: string | null;
  readonly settings: ReportSample["settings"];
  /** null: there was nothing to compare, or it could not be. */
  readonly judgement: Judgement | null;
  /** Why it could not be drawn or compared; null: it could. */
  readonly reason: string | null;
}

/** Where a job's pictures are drawn, compared and kept. */
export interface Studio {
  /** Draws a picture in one way and compares it; nothing is kept. null: it can't be compared. */
  attempt(sample: PlannedSample, reading: Reading): Promise<Judgement | null>;
  /** Draws a picture for the report, or finds it there. */
  take(sample: PlannedSample, reading: Reading): Promise<Taken>;
}

export interface StudioOptions {
  readonly renderer: Renderer;
  readonly inputs: Inputs;
  readonly notebook: Notebook;
  /** Of the report, with pictures/. */
  readonly folder: string;
  readonly signal: AbortSignal | undefined;
  readonly onStep: (progress: Pick<StepProgress, "step" | "total">) => void;
  /** What is said of an error's message; all of it, if left out. */
  readonly says: ((message: string) => string) | undefined;
}

interface Drawn {
  readonly generated: Generated;
  readonly judgement: Judgement | null;
  readonly reason: string | null;
}

/** As the notebook has it: written by this version, which is one of the inputs. */
interface Kept extends Taken {
  readonly picture: string;
  readonly sha256: string;
}

export function openStudio({
  renderer,
  inputs,
  notebook,
  folder,
  signal,
  onStep,
  says = (message) => message,
}: StudioOptions): Studio {
  /** What counts in the end is not drawn twice. */
  const attempts = new Map<Reading, Drawn>();

  const draw = async (sample: PlannedSample, reading: Reading): Promise<Drawn> => {
    const { model, preview, expected } = sample;
    const generated = await renderer.render(model, reading.rounding, reading.request, {
      onStep,
      ...(signal === undefined ? {} : { signal }),
    });
    if (preview === null) return { generated, judgement: null, reason: null };
    try {
      const bytes = await readPreview(preview);
      const judgement = await judge({ file: preview.file, bytes }, generated.image, expected);
      return { generated, judgement, reason: null };
    } catch (error) {
      return { generated, judgement: null, reason: says(reasonOf(error, sample)) };
    }
  };

  const keep = async (sample: PlannedSample, drawn: Drawn, madeFrom: string): Promise<Taken> => {
    const { generated, judgement, reason } = drawn;
    const picture = pictureOf(sample);
    await writeImage(join(folder, picture), generated.image, generated.parameters);
    const sha256 = await hashFile(join(folder, picture), "sha256");
    // The same table describes both; only the seed is a piece of JSON text in one of them.
    const settings = {
      ...(generated.parameters as ReportSample["settings"]),
      seed: generated.effective.seed,
    };
    const kept: Kept = { picture, sha256, settings, judgement, reason };
    await notebook.note(nameOf(sample), madeFrom, kept);
    return kept;
  };

  return {
    async attempt(sample, reading) {
      const size = await sizeOfPreview(sample);
      if (size === null) return null;
      const { rounding, request } = reading;
      const own = sizeOfShot({ model: sample.model, rounding, request });
      if (own.width !== size.width || own.height !== size.height) return otherSize;
      try {
        const drawn = await draw(sample, reading);
        attempts.set(reading, drawn);
        return drawn.judgement;
      } catch (error) {
        reasonOf(error, sample);
        return null;
      }
    },
    async take(sample, reading) {
      let drawn: Drawn;
      let madeFrom: string;
      try {
        madeFrom = await inputs.of(sample, [reading]);
        const found = notebook.find(nameOf(sample), madeFrom) as Kept | undefined;
        if (found !== undefined && (await isThere(join(folder, found.picture), found.sha256))) {
          return found;
        }
        drawn = attempts.get(reading) ?? (await draw(sample, reading));
        attempts.delete(reading);
      } catch (error) {
        const reason = says(reasonOf(error, sample));
        return { picture: null, settings: {}, judgement: null, reason };
      }
      return keep(sample, drawn, madeFrom);
    },
  };
}

/** In the notebook, and to a person. */
function nameOf({ preview, step, index }: PlannedSample): string {
  return preview?.file ?? `step ${step}, sample ${index}`;
}

/** A jpg and a png of one name are two pictures. */
function pictureOf({ preview, step, index }: PlannedSample): string {
  const name = preview?.file.replace(/^samples\//, "") ?? `step_${step}_${index}`;
  return `pictures/${name.replace(/\.jpg$/, "").replaceAll(".", "-")}.png`;
}

async function isThere(path: string, sha256: string): Promise<boolean> {
  return (await hashFile(path, "sha256").catch(() => "it is gone")) === sha256;
}

async function sizeOfPreview({ preview }: PlannedSample) {
  if (preview === null) return null;
  try {
    return await decodeImage(await readPreview(preview), preview.file);
  } catch (error) {
    if (error instanceof InputError) return null;
    throw error;
  }
}

const otherSize: Judgement = {
  verdict: "different",
  psnr: null,
  ssim: null,
  maxDifference: null,
  reason: null,
};

/** What keeps one picture from being taken. @throws what stops all of them */
function reasonOf(error: unknown, { lora }: PlannedSample): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (error instanceof CanceledError || !(error instanceof Error)) throw error;
  if (!(error instanceof InputError) && code !== "ENOENT" && code !== "EACCES") throw error;
  return lora === null ? error.message : error.message.replaceAll(lora.path, lora.file);
}
