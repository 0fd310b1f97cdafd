import { rm, stat, utimes } from "node:fs/promises";
import { InputError } from "../errors.ts";
import { readSafetensors } from "../weights/safetensors.ts";

/** Whether a cached file is there, as long as its header says, and now noted as used. A bad one is removed. */
export async function isWhole(file: string): Promise<boolean> {
  try {
    await stat(file);
  } catch {
    return false;
  }
  try {
    await readSafetensors(file);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    await rm(file, { force: true });
    return false;
  }
  const now = new Date();
  await utimes(file, now, now);
  return true;
}
