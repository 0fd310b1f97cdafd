import { readFile } from "node:fs/promises";
import { InputError } from "../errors.ts";
import type { HubSettings } from "../schema/hub.ts";

/**
 * The operator's token: HF_TOKEN, else what `hf auth login` has kept.
 *
 * @throws InputError if it can't be one, without showing it
 */
export async function readHubToken({ token, tokenFile }: HubSettings): Promise<string | undefined> {
  const from = token === undefined ? tokenFile : "HF_TOKEN";
  const text = (token ?? (await readFile(tokenFile, "utf8").catch(missing))).trim();
  if (text === "") return undefined;
  if (/^[\x21-\x7e]+$/.test(text)) return text;
  throw new InputError(
    `${from} holds characters that no token has. Copy it again from the hub's page of access tokens.`,
  );
}

function missing(error: unknown): string {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") return "";
  throw new InputError(
    "the file with the hub's token can't be read (HF_TOKEN_PATH, or token in HF_HOME). Let this user read it, or set HF_TOKEN.",
    { cause: error },
  );
}
