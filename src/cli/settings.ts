import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parse } from "dotenv";
import { parseStoreSettings, type StoreSettings } from "../config/hub.ts";
import type { Settings } from "../config/settings.ts";
import { parseSettings } from "../config/settings.ts";

const demoLoras = fileURLToPath(new URL("../../demo/loras", import.meta.url));

type Flags = Readonly<Record<string, string | undefined>>;

/** Flags, then the environment, then `.env` in the working directory. @throws InputError */
export function readSettings(flags: Flags): Settings {
  return parseSettings(environmentWith(flags), demoLoras);
}

/** The same, but only what concerns weights. @throws InputError */
export function readStoreSettings(flags: Flags): StoreSettings {
  return parseStoreSettings(environmentWith(flags));
}

/** The model store that `--weights` names: `hub` is this machine's hub cache. @throws InputError */
export function storeOf(weights: string): string {
  return weights === "hub" ? readStoreSettings({ RETAKE_WEIGHTS: weights }).weights : weights;
}

function environmentWith(flags: Flags): Record<string, string | undefined> {
  const file = existsSync(".env") ? parse(readFileSync(".env")) : {};
  const given = Object.entries(flags).filter(([, value]) => value !== undefined);
  return { ...file, ...process.env, ...Object.fromEntries(given) };
}
