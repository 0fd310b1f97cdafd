import { readFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { InputError } from "../errors.ts";
import { decodeImage } from "../image/decode-image.ts";
import { encodeAsTrainer } from "../image/encode-image.ts";
import type { ReportSample } from "../wire/report.ts";

/** A picture as the page holds it. */
export interface ShownPicture {
  /** `data:…`. */
  readonly address: string;
  /** In pixels, of what is shown. */
  readonly width: number;
  readonly height: number;
  /** Smaller than the picture is. */
  readonly reduced: boolean;
}

export interface ShownPair {
  /** A text says why there is none; null: there never was one. */
  readonly preview: ShownPicture | string | null;
  readonly retake: ShownPicture | string | null;
}

/** Bytes of a file in the job's folder. */
export type ReadPreview = (file: string) => Promise<Uint8Array>;

/**
 * Both pictures as the trainer would have saved them: the preview's own bytes, and the retake encoded
 * as that is.
 *
 * @param longest side in pixels that is shown; null: all of it
 */
export async function shownPair(
  { preview, picture }: Pick<ReportSample, "preview" | "picture">,
  folder: string,
  readPreview: ReadPreview,
  longest: number | null,
): Promise<ShownPair> {
  const theirs = preview === null ? null : await orReason(preview, () => readPreview(preview));
  const format = theirs !== null && "format" in theirs ? theirs.format : "png";
  const ours =
    picture === null ? null : await orReason(picture, () => readFile(join(folder, picture)));
  const encoded =
    ours === null || "reason" in ours
      ? ours
      : { ...ours, format, bytes: await encodeAsTrainer(ours, format) };
  return { preview: await shown(theirs, longest), retake: await shown(encoded, longest) };
}

interface Readable {
  readonly bytes: Uint8Array;
  readonly format: "png" | "jpeg" | "webp";
  readonly width: number;
  readonly height: number;
}

/** What can't be shown must not keep the others from being shown. */
async function orReason(file: string, read: () => Promise<Uint8Array>) {
  try {
    const bytes = await read();
    return { bytes, ...(await decodeImage(bytes, file)) };
  } catch (error) {
    if (error instanceof InputError) return { reason: error.message };
    const code = (error as NodeJS.ErrnoException).code;
    if (code === undefined) throw error;
    return { reason: `${file} can't be read (${code}).` };
  }
}

async function shown(
  picture: Readable | { readonly reason: string } | null,
  longest: number | null,
): Promise<ShownPicture | string | null> {
  if (picture === null) return null;
  if ("reason" in picture) return picture.reason;
  const { bytes, format, width, height } = picture;
  if (longest !== null && Math.max(width, height) > longest) {
    const small = sharp(bytes).resize(longest, longest, { fit: "inside" }).webp({ quality: 80 });
    const { data, info } = await small.toBuffer({ resolveWithObject: true });
    const { width, height } = info;
    return { address: dataAddress("webp", data), width, height, reduced: true };
  }
  return { address: dataAddress(format, bytes), width, height, reduced: false };
}

function dataAddress(format: string, bytes: Uint8Array): string {
  return `data:image/${format};base64,${Buffer.from(bytes).toString("base64")}`;
}
