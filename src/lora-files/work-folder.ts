import { mkdir, rm, utimes } from "node:fs/promises";
import { temporaryIn } from "../files/whole.ts";

/** Another node that starts removes what nobody has touched for ten minutes. */
const touchMilliseconds = 60_000;

/**
 * A folder for one run, in one that is swept of what killed processes left. It is removed when it is
 * disposed of.
 */
export async function makeWorkFolder(
  sweptFolder: string,
): Promise<AsyncDisposable & { readonly folder: string }> {
  const folder = temporaryIn(sweptFolder);
  await mkdir(folder, { mode: 0o700 });
  const touching = setInterval(() => {
    const now = new Date();
    // Somebody removed it: whoever works in it says so.
    utimes(folder, now, now).catch(() => {});
  }, touchMilliseconds);
  return {
    folder,
    async [Symbol.asyncDispose]() {
      clearInterval(touching);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
