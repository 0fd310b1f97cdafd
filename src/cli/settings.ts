import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parse } from "dotenv";
import type { Settings } from "../schema/settings.ts";
import { parseSettings } from "../schema/settings.ts";

const demoLoras = fileURLToPath(new URL("../../demo/loras", import.meta.url));

/** Flags, then the environment, then `.env` in the working directory. @throws InputError */
export function readSettings(flags: Readonly<Record<string, string | undefined>>): Settings {
  const file = existsSync(".env") ? parse(readFileSync(".env")) : {};
  const given = Object.entries(flags).filter(([, value]) => value !== undefined);
  return parseSettings({ ...file, ...process.env, ...Object.fromEntries(given) }, demoLoras);
}

/** The model store that `--weights` names: `hub` is this machine's hub cache. @throws InputError */
export function storeOf(weights: string): string {
  return weights === "hub" ? readSettings({ RETAKE_WEIGHTS: weights }).weights : weights;
}
