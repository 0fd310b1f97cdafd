import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { rm } from "node:fs/promises";
import { InputError } from "../errors.ts";
import { temporaryIn, writeNew } from "../files/whole.ts";
import { firstBytesCheck } from "./recognise.ts";

/** A file that was received whole and is not kept yet. */
export interface StagedFile {
  readonly path: string;
  readonly sha256: string;
  readonly bytes: number;
}

/**
 * Writes what comes to a file of its own and hashes it on the way. Leaves
 * nothing if it fails. The caller removes the file.
 *
 * @param admit called with each piece before it is written; throws if there is no room, or it is not what it should be
 */
export async function stageFile(
  folder: string,
  source: AsyncIterable<Uint8Array>,
  admit: (piece: Uint8Array) => void,
): Promise<StagedFile> {
  const path = temporaryIn(folder);
  const hash = createHash("sha256");
  let bytes = 0;
  const receive = async (handle: FileHandle) => {
    for await (const piece of source) {
      admit(piece);
      // Not write(): on a full disk that writes a part, says how much, and does not fail.
      await handle.writeFile(piece);
      hash.update(piece);
      bytes += piece.length;
    }
  };
  try {
    await writeNew(path, receive, 0o600);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
  return { path, sha256: hash.digest("hex"), bytes };
}

/** To be called with each piece: throws as soon as the file can be no LoRA. @throws InputError */
export function uploadedLoraCheck(): (piece: Uint8Array) => void {
  return firstBytesCheck(
    "The upload",
    (what) =>
      new InputError(
        `The upload is ${what}, not a LoRA that can be used. Send a .safetensors LoRA.`,
      ),
  );
}
