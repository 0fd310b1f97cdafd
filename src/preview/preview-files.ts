import { opendir } from "node:fs/promises";
import { join } from "node:path";
import { InputError } from "../errors.ts";
import { realInside } from "../files/inside.ts";
import { openRegular, readExactly } from "../files/read.ts";
import type { JobConfig } from "./job-config.ts";

type PreviewFormat = "jpg" | "png" | "webp";

/** A picture that the trainer drew. */
export interface PreviewFile {
  /** In the job's folder: `samples/…`. */
  readonly file: string;
  /** Real, absolute path. */
  readonly path: string;
  /** Milliseconds since 1970, by the trainer's clock. */
  readonly savedAt: number;
  /** Of the training, from 0. */
  readonly step: number;
  /** Of the sample in its section, from 0. */
  readonly index: number;
  readonly format: PreviewFormat;
  /** The section of the configuration that it was drawn by. */
  readonly set: "first_sample" | "sample";
  /** The pictures of one call of the trainer's `sample` share this number; counted from 0 in time. */
  readonly round: number;
  /** The trainer made a thumbnail of it, as it does since 0.11.1 (efb58c86). */
  readonly hasThumbnail: boolean;
}

/** A training of a year makes fewer. */
const mostFiles = 100_000;

/** `[time]__[step, 9 digits]_[index].[format]`, BaseSDTrainProcess.sample. */
const previewName = /^(\d{1,15})__(\d{9,12})_(\d{1,6})\.(jpe?g|png|webp)$/i;

type Named = Omit<PreviewFile, "set" | "round">;

/**
 * The pictures of a job, in time. What is no picture of the trainer's is left out and counted.
 *
 * @param root of the job, a real path
 */
export async function findPreviews(
  root: string,
  config: JobConfig,
): Promise<{ previews: PreviewFile[]; notes: string[] }> {
  const folder = await realInside(root, join(root, "samples"));
  if (folder === undefined) {
    return { previews: [], notes: ["the job has no folder samples/ of its own"] };
  }
  const names = await filesIn(folder);
  const thumbnails = await realInside(root, join(folder, ".thumbs"));
  const thumbs = new Set(thumbnails === undefined ? [] : await filesIn(thumbnails));
  const named = names.flatMap((name) => parseName(name, folder, thumbs) ?? []);
  const notes =
    named.length < names.length
      ? [`${names.length - named.length} files in samples/ are no previews and were left out`]
      : [];
  return { previews: withSets(named, config), notes };
}

/** Regular files only: a link could lead anywhere, and would be found again by its own name. */
async function filesIn(folder: string): Promise<string[]> {
  const names: string[] = [];
  const entries = await opendir(folder).catch(() => undefined);
  if (entries === undefined) return names;
  for await (const entry of entries) {
    if (entry.isFile()) names.push(entry.name);
    if (names.length > mostFiles) {
      throw new InputError(
        `samples/ has more than ${mostFiles} files. Move those of some steps elsewhere.`,
      );
    }
  }
  return names;
}

function parseName(name: string, folder: string, thumbs: ReadonlySet<string>): Named | undefined {
  const [, time, step, index, extension] = previewName.exec(name) ?? [];
  if (extension === undefined) return undefined;
  const format = extension.toLowerCase().replace("jpeg", "jpg");
  return {
    file: `samples/${name}`,
    path: join(folder, name),
    savedAt: Number(time),
    step: Number(step),
    index: Number(index),
    format: format as PreviewFormat, // the three that the pattern takes
    hasThumbnail: thumbs.has(`${name}.jpg`),
  };
}

/**
 * The rounds, and which of them are of `first_sample`: at step 0 that one comes first, and it is drawn
 * even where the other is skipped.
 */
function withSets(named: readonly Named[], config: JobConfig): PreviewFile[] {
  const inTime = named.toSorted((a, b) => a.savedAt - b.savedAt || a.index - b.index);
  const rounds: Named[][] = [];
  for (const preview of inTime) {
    const last = rounds.at(-1)?.at(-1);
    const goesOn = last !== undefined && last.step === preview.step && last.index < preview.index;
    if (goesOn) rounds.at(-1)!.push(preview);
    else rounds.push([preview]);
  }
  const firsts = new Set(config.firstSample === null ? [] : firstRounds(rounds, config));
  return rounds.flatMap((round, i) =>
    round.map((preview) => ({
      ...preview,
      round: i,
      set: firsts.has(i) ? ("first_sample" as const) : ("sample" as const),
    })),
  );
}

/** A job that was started again at step 0 has the pair again. */
function firstRounds(rounds: readonly Named[][], config: JobConfig): number[] {
  const atZero = rounds.flatMap(([first], i) => (first!.step === 0 ? [i] : []));
  if (config.skipsFirstSample) return atZero;
  const firsts: number[] = [];
  for (let at = 0; at < atZero.length; at++) {
    const round = rounds[atZero[at]!]!;
    const drawable = round.at(-1)!.index < config.firstSample!.items.length;
    const before = firsts.at(-1) === atZero[at - 1] && at > 0;
    if (drawable && !before) firsts.push(atZero[at]!);
  }
  return firsts;
}

/** Of one picture: the largest that the trainer draws has a third of this as png. */
const largestPreview = 2 ** 27;

/** A preview's bytes. @throws InputError naming it if it can't be read */
export async function readPreview({ file, path }: PreviewFile): Promise<Uint8Array> {
  const { handle, size } = await openRegular(path, "preview").catch((error: unknown) => {
    throw new InputError(`${file} can't be read: it is no file any more.`, { cause: error });
  });
  try {
    if (size > largestPreview) {
      throw new InputError(`${file} has ${size} bytes, and a preview at most ${largestPreview}.`);
    }
    const bytes = new Uint8Array(size);
    await readExactly(handle, bytes, 0, file);
    return bytes;
  } finally {
    await handle.close();
  }
}
