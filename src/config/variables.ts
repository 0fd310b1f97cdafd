import type { z } from "zod";
import { InputError } from "../errors.ts";
import { bounds, mostLoras } from "../job/request.ts";
import { quantizeKinds, storages } from "./model-options.ts";
import { signingKey } from "./signing-key.ts";
import * as values from "./values.ts";

// Every environment variable that is read, by what reads it. Names without RETAKE_ are the
// reference server's or the hub's tools', and mean here what they mean there.

export type Environment = Readonly<Record<string, string | undefined>>;

/** Folders that others are named after. */
const homeVariables = {
  XDG_CACHE_HOME: values.file("~/.cache"),
  XDG_DATA_HOME: values.file("~/.local/share"),
};

/** Where weights lie. */
const weightsVariables = {
  ...homeVariables,
  RETAKE_WEIGHTS: values.folderOr(["demo", "hub"], "demo"),
  HF_HOME: values.file("huggingface in XDG_CACHE_HOME"),
  HF_HUB_CACHE: values.file("hub in HF_HOME"),
  /** The older name of HF_HUB_CACHE. */
  HUGGINGFACE_HUB_CACHE: values.file("hub in HF_HOME"),
};

export const cacheVariables = {
  XDG_CACHE_HOME: homeVariables.XDG_CACHE_HOME,
  RETAKE_CACHE: values.file("retake in XDG_CACHE_HOME"),
};

/** What runs a model. */
export const modelVariables = {
  ...weightsVariables,
  ...cacheVariables,
  RETAKE_TRANSFORMERS: values.transformerList,
  RETAKE_STORAGE: values.wordOrNone(storages, "auto"),
  /** The older name of RETAKE_STORAGE. */
  RETAKE_QUANTIZE: values.wordOrNone(quantizeKinds, "RETAKE_STORAGE"),
  DEVICE: values.deviceList,
};

/** What reaches the hub, and links. */
const networkVariables = {
  ...weightsVariables,
  HF_ENDPOINT: values.httpUrl("https://huggingface.co"),
  HF_TOKEN: values.token,
  HF_TOKEN_PATH: values.file("token in HF_HOME"),
  HF_HUB_OFFLINE: values.flag,
  /** Silence after which a connection is begun again. */
  HF_HUB_DOWNLOAD_TIMEOUT: values.seconds(30),
  RETAKE_ALLOW_ADDRESSES: values.allowedHosts,
  RETAKE_ALLOW_HTTP: values.flag,
};

/** Where weights lie and come from. */
export const storeVariables = networkVariables;

/** How LoRAs come from links. */
export const linkVariables = {
  ...networkVariables,
  LORA_DOWNLOAD_CACHE_DIR: values.file("/tmp/lora_cache"),
  RETAKE_LORA_CACHE: values.gibibytes(50),
  RETAKE_MAX_LORA: values.gibibytes(8),
};

/** The queue gives a run up an hour later: time enough to stop it. */
export const mostRunSeconds: number = 23 * 60 * 60;

/** Of one API key. */
export const requestsAMinute = { least: 1, most: 1_000_000 } as const;

const mostPixelSteps = bounds.pixels.le ** 2 * bounds.steps.le;

export const serverVariables = {
  ...modelVariables,
  ...linkVariables,
  HOST: values.host,
  PORT: values.whole(0, 65_535, 8000),
  BASE_URL: values.httpUrl("where the client reached the server"),
  WORKFLOWS_BASE_PATH: values.file("the demonstration's, or /app/ai-toolkit/lora_weights"),
  OUTPUT_BASE_PATH: values.place("/tmp/inference_output"),
  OFFLOAD_MODE: values.word(["none", "model", "sequential"], "none"),
  ENABLE_CPU_OFFLOAD: values.flag,
  INFERENCE_TIMEOUT: values.seconds(3600, mostRunSeconds),
  DATABASE_URL: values.databaseUrl,
  RETAKE_DATA: values.file("retake in XDG_DATA_HOME"),
  RETAKE_AUTO_PULL: values.flag,
  RETAKE_MAX_QUEUED: values.whole(1, 1_000_000_000, 1000),
  RETAKE_MAX_LORAS: values.whole(1, mostLoras, 1),
  RETAKE_MAX_PROMPTS: values.whole(1, 1_000_000, 64),
  RETAKE_MAX_PROMPT_CHARACTERS: values.whole(1, 100_000_000, 20_000),
  /** Postgres keeps no larger JSON. */
  RETAKE_MAX_BODY: values.whole(1, 2 ** 27, 2 ** 20),
  /** Width x height x steps of one prompt. The fields' own bounds allow no more than the default. */
  RETAKE_MAX_PIXEL_STEPS: values.whole(bounds.pixels.ge ** 2, mostPixelSteps, mostPixelSteps),
  /** A hundred years: further back no date can be told. */
  RETAKE_RETENTION_DAYS: values.whole(1, 36_500, 30),
  RETAKE_API_KEYS: values.file("none"),
  RETAKE_RATE_LIMIT: values.whole(requestsAMinute.least, requestsAMinute.most, 600),
  RETAKE_ALLOWED_HOSTS: values.hostNames,
  RETAKE_CORS_ORIGINS: values.origins,
  RETAKE_UPLOADS: values.place("uploads in RETAKE_DATA, or beside results in a bucket"),
  RETAKE_MAX_UPLOADS: values.gibibytes(50),
  RETAKE_SECRET: values.sealSecret,
  RETAKE_WEBHOOK_SECRET: signingKey,
  RETAKE_LOG_LEVEL: values.word(
    ["fatal", "error", "warn", "info", "debug", "trace", "silent"],
    "info",
  ),
};

type Variables = Readonly<Record<string, z.ZodType>>;
type Values<Table extends Variables> = { readonly [Name in keyof Table]: z.output<Table[Name]> };

/**
 * Variables by their names in capitals, as names are case-insensitive; where one is there in
 * several spellings, that in capitals counts.
 */
export function inCapitals(environment: Environment): Record<string, string> {
  const given: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    const upper = name.toUpperCase();
    if (value !== undefined && (name === upper || environment[upper] === undefined))
      given[upper] = value;
  }
  return given;
}

/**
 * Reads a table's variables and no other: what a command does not use is not in its way. An
 * empty value counts as not set.
 *
 * @param check finds what is wrong between variables that are well by themselves
 * @throws InputError naming each variable that is wrong, what it takes and what was given
 */
export function readVariables<Table extends Variables>(
  table: Table,
  environment: Environment,
  check: (read: Partial<Values<Table>>) => readonly string[] = () => [],
): Values<Table> {
  const given = inCapitals(environment);
  const problems = unknownNames(given);
  const read: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(table)) {
    const text = given[name] === "" ? undefined : given[name];
    const parsed = schema.safeParse(text);
    if (text?.trim() === "") problems.push(`${name}: is blank. Give a value, or leave it out.`);
    else if (parsed.success) read[name] = parsed.data;
    else problems.push(problemOf(name, schema, text ?? "", parsed.error));
  }
  // Each name of the table is in it, or there is a problem.
  const found = read as Values<Table>;
  problems.push(...check(found));
  if (problems.length === 0) return found;
  throw new InputError(
    `The settings can't be used. ${problems.join(" ")} See docs/server.md for all of them.`,
    { longest: problems.length * longestProblem + longestProblem },
  );
}

/** A wrong letter in one of our names would change nothing, and nobody would notice. */
function unknownNames(given: Environment): string[] {
  return Object.keys(given)
    .filter((name) => name.startsWith("RETAKE_") && !Object.hasOwn(serverVariables, name))
    .map((name) => `${name} is no setting.`);
}

/** Characters of one with a value that was cut. */
const longestProblem = 1000;
/** Longer values are cut in errors. */
const shownCharacters = 60;

function problemOf(name: string, schema: z.ZodType, text: string, error: z.ZodError): string {
  const { takes, secret } = values.variableTexts.get(schema)!;
  const shown = text.length <= shownCharacters ? text : `${text.slice(0, shownCharacters)}…`;
  // A URL with "@" may hold a password.
  const isShown = secret !== true && !shown.includes("@");
  const reason = error.issues.find(({ code }) => code === "custom")?.message;
  return (
    `${name}: takes ${takes}; ${isShown ? JSON.stringify(shown) : "another value"} was given` +
    `${reason === undefined ? "" : `: ${reason}`}.`
  );
}
