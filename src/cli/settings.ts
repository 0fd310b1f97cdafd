import { parseEnvFile } from "../config/env-file.ts";
import type {
  Known,
  LinkSettings,
  ModelSettings,
  Settings,
  StoreSettings,
} from "../config/settings.ts";
import {
  parseCacheFolder,
  parseLinkSettings,
  parseModelSettings,
  parseSettings,
  parseStoreSettings,
} from "../config/settings.ts";
import { inCapitals } from "../config/variables.ts";
import { readTextFile } from "../files/text.ts";
import { models } from "../models/registry.ts";
import { demoLoras } from "../paths.ts";

export const known: Known = {
  demoLoras,
  models: models.map(({ id }) => id),
};

/** Values of flags, by the variables that they stand for. */
type Flags = Readonly<Record<string, string | undefined>>;

// Flags count before the environment, and that before `.env` in the working directory. Each
// command reads what it uses, so that no other setting is in its way.

/** @throws InputError as all of these do, naming everything that is wrong */
export function readSettings(flags: Flags): Settings {
  return parseSettings(environmentWith(flags), known);
}

/** What runs a model. */
export function readModelSettings(flags: Flags): ModelSettings {
  return parseModelSettings(environmentWith(flags), known);
}

/** What fetches weights. */
export function readStoreSettings(flags: Flags): StoreSettings {
  return parseStoreSettings(environmentWith(flags));
}

/** What fetches LoRAs. */
export function readLinkSettings(): LinkSettings {
  return parseLinkSettings(environmentWith({}));
}

export function readCacheFolder(): string {
  return parseCacheFolder(environmentWith({}));
}

function environmentWith(flags: Flags): Record<string, string> {
  const file = parseEnvFile(readTextFile(".env") ?? "", ".env");
  let all: Record<string, string> = {};
  for (const layer of [file, process.env, flags].map(inCapitals)) {
    // Two names of one setting: what is nearer takes the place of both.
    const { RETAKE_STORAGE, RETAKE_QUANTIZE, ...others } = all;
    const isStorageGiven =
      layer.RETAKE_STORAGE !== undefined || layer.RETAKE_QUANTIZE !== undefined;
    all = { ...(isStorageGiven ? others : all), ...layer };
  }
  return all;
}
