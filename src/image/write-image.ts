import { access, constants, stat } from "node:fs/promises";
import { dirname, extname } from "node:path";
import { InputError } from "../errors.ts";
import { notWritable, writeWhole } from "../files/whole.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ImageFormat } from "./encode-image.ts";
import { encodeImage } from "./encode-image.ts";

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

const formats: Readonly<Record<string, ImageFormat>> = {
  ".png": "png",
  ".jpg": "jpeg",
  ".jpeg": "jpeg",
  ".webp": "webp",
};

/** @throws InputError if the name's ending is not one of a format that is written */
export function formatOf(path: string): ImageFormat {
  const format = formats[extname(path).toLowerCase()];
  if (format !== undefined) return format;
  throw new InputError(
    `${path}: pictures are written as ${Object.keys(formats).join(", ")}. Change the ending.`,
  );
}

/**
 * Writes a picture, whole or not at all, in the format that its name's ending says.
 *
 * @param image [3, H, W] in [0, 1]
 * @param parameters what made it; written into the file as JSON
 * @throws InputError if the place can't be written, or the parameters don't fit
 */
export async function writeImage(path: string, image: Tensor, parameters: object): Promise<void> {
  const bytes = await encodeImage(image, formatOf(path), parameters);
  await writeWhole(path, [bytes]).catch((error: unknown) => {
    throw notWritable(path, error);
  });
}
