import { randomUUID } from "node:crypto";
import { access, constants, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import sharp from "sharp";
import { InputError, messageOf } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { insertPngText } from "./png-text.ts";
import { quantize } from "./quantize.ts";

/** As the reference server saves its pictures; chroma as Pillow does by default. */
const jpegOptions = { quality: 95, chromaSubsampling: "4:2:0" };

/** A JPEG segment has at most 65,533 bytes; Exif's own entries take the rest. */
const mostExifText = 65_000;

/**
 * Says before the long work whether a file can be written at its end.
 *
 * @throws InputError naming the path and what is in the way
 */
export async function checkWritable(path: string): Promise<void> {
  const folder = dirname(path);
  try {
    const there = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
      return undefined;
    });
    if (there?.isDirectory()) throw new Error("it is a folder");
    if (!(await stat(folder)).isDirectory()) throw new Error(`${folder} is not a folder`);
    await access(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw notWritable(path, error);
  }
}

/** @throws InputError if the name's ending is not one of a format that is written */
export function checkImageName(path: string): void {
  if (![".png", ".jpg", ".jpeg"].includes(extname(path).toLowerCase())) {
    throw new InputError(
      `${path}: pictures are written as .png, .jpg or .jpeg. Change the ending.`,
    );
  }
}

/**
 * Writes a picture, whole or not at all, in the format that its name's ending says.
 *
 * @param image [3, H, W] in [0, 1]
 * @param parameters what made it; written into the file as JSON (PNG: text chunk
 *   `parameters`, JPEG: Exif ImageDescription)
 * @throws InputError if the place can't be written, or the parameters don't fit
 */
export async function writeImage(path: string, image: Tensor, parameters: object): Promise<void> {
  checkImageName(path);
  const { data, width, height } = quantize(image);
  const raw = sharp(data, { raw: { width, height, channels: 3 } });
  const json = JSON.stringify(parameters);
  const bytes =
    extname(path).toLowerCase() === ".png"
      ? insertPngText(await raw.png().toBuffer(), "parameters", json)
      : await raw
          .jpeg(jpegOptions)
          .withExif({ IFD0: { ImageDescription: exifText(path, json) } })
          .toBuffer();
  // Not the picture's name and more: that may be longer than a name can be.
  const temporary = join(dirname(path), `.${randomUUID()}.tmp`);
  try {
    await writeFile(temporary, bytes, { flag: "wx" });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw notWritable(path, error);
  }
}

/** Exif text is ASCII: other characters become JSON escapes, which read back the same. */
function exifText(path: string, json: string): string {
  const text = json.replace(
    /[^\0-\x7f]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  // libvips would write it cut off, which no reader takes.
  if (text.length > mostExifText) {
    throw new InputError(
      `${path} can't hold its parameters: a JPEG has room for ${mostExifText} bytes of text, and they ` +
        `are ${text.length}. Name a .png file, or shorten the prompt.`,
    );
  }
  return text;
}

function notWritable(path: string, error: unknown): InputError {
  return new InputError(
    `${path} can't be written: ${messageOf(error)}. Name a file in a folder that exists and that you may write to.`,
    { cause: error },
  );
}
