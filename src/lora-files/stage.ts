import { createHash, randomUUID } from "node:crypto";
import { open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { InputError } from "../errors.ts";
import { enoughToRecognise, recogniseOther } from "./recognise.ts";

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
 * @param admit called with each piece's length before it is written; throws if there is no room
 * @throws InputError if the first bytes are not a safetensors file's
 */
export async function stageFile(
  folder: string,
  source: AsyncIterable<Uint8Array>,
  admit: (bytes: number) => void,
): Promise<StagedFile> {
  const path = join(folder, `.${randomUUID()}.tmp`);
  const hash = createHash("sha256");
  let bytes = 0;
  const handle = await open(path, "wx", 0o600);
  try {
    let head = Buffer.alloc(0);
    for await (const piece of source) {
      admit(piece.length);
      if (bytes < enoughToRecognise) {
        head = Buffer.concat([head, piece]).subarray(0, enoughToRecognise);
        const other = head.length < enoughToRecognise ? undefined : recogniseOther(head);
        if (other !== undefined) throw notSafetensors(other);
      }
      // Not write(): on a full disk that writes a part, says how much, and does not fail.
      await handle.writeFile(piece);
      hash.update(piece);
      bytes += piece.length;
    }
    await handle.sync();
    await handle.close();
  } catch (error) {
    await handle.close().catch(() => {});
    await rm(path, { force: true });
    throw error;
  }
  return { path, sha256: hash.digest("hex"), bytes };
}

/** What killed uploads left. Others may be writing to the folder: what grew lately is theirs. */
export async function removeStaged(folder: string, leftoverMilliseconds: number): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!/^\.[0-9a-f-]{36}\.tmp$/.test(name)) continue;
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined && Date.now() - found.mtimeMs >= leftoverMilliseconds)
      await rm(path, { force: true });
  }
}

function notSafetensors(what: string): InputError {
  return new InputError(
    `The upload is ${what}, not a LoRA that can be used. Send a .safetensors LoRA.`,
  );
}
