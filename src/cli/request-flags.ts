import type { Command } from "commander";
import { InvalidArgumentError, Option } from "commander";
import { InputError } from "../errors.ts";
import type { GenerateInput, GenerateRequest } from "../job/request.ts";
import {
  askedProfileNames,
  boundedRequestSchema,
  bounds,
  defaultPixels,
  generateRequestSchema,
} from "../job/request.ts";
import type { Rounding } from "../job/rounding.ts";
import { defaultSeed } from "../job/seed.ts";
import { modelById, models } from "../models/registry.ts";
import type { NamedLora } from "../preview/explain-lora.ts";
import type { StatedLora, StatedRequest } from "../preview/stated-request.ts";
import type { LoraOption } from "./options.ts";
import { parseLoraOption, parseNumber } from "./options.ts";

/** The flags that say what picture is meant; those that are not given are undefined. */
export interface RequestFlags {
  readonly sample?: number;
  readonly model?: string;
  readonly lora?: LoraOption[];
  readonly prompt?: string;
  readonly neg?: string;
  readonly trigger?: string;
  readonly width?: number;
  readonly height?: number;
  readonly steps?: number;
  readonly guidance?: number;
  readonly seed?: bigint;
  readonly profile?: string;
}

/** A request as the flags and the file that they stand on top of say it. */
export interface AskedRequest {
  /** What was read, in words. */
  readonly source: string;
  readonly model: string;
  /** The paths of its LoRAs are those that `loras` names. */
  readonly request: GenerateRequest;
  readonly loras: readonly NamedLora[];
  readonly tool: StatedRequest["tool"];
  /** As the file says it. */
  readonly asTrained: Rounding | null;
  readonly warnings: readonly string[];
}

/** Names of the flags that fill the request's fields. */
const flagOf: Record<string, string> = {
  loras: "--lora",
  "loras.path": "--lora",
  "loras.multiplier": "--lora FILE=MULTIPLIER",
  negativePrompt: "--neg",
  triggerWord: "--trigger",
  guidanceScale: "--guidance",
};

const defaultModel = "zimage_deturbo";

export function addRequestOptions(command: Command): Command {
  return command
    .option("--prompt <text>", "what to draw")
    .option(
      "--sample <index>",
      "which sample of a job's configuration, or prompt of a request, from 0",
      parseNumber,
    )
    .option(
      "--model <id>",
      `one of ${models.map(({ id }) => id).join(", ")} (default ${defaultModel})`,
    )
    .option(
      "--lora <file[=multiplier]>",
      `LoRA file or link (https://..., hf:owner/repo), multiplier ${rangeOf(bounds.multiplier)} (default 1); several act together`,
      parseLoraOption,
    )
    .option("--neg <text>", "negative prompt; acts where guidance runs")
    .option("--trigger <word>", "replaces [trigger] in the prompt")
    .option("--width <pixels>", `${rangeOf(bounds.pixels)} (default ${defaultPixels})`, parseNumber)
    .option(
      "--height <pixels>",
      `${rangeOf(bounds.pixels)} (default ${defaultPixels})`,
      parseNumber,
    )
    .option("--steps <count>", `${rangeOf(bounds.steps)} (default: the model's)`, parseNumber)
    .option(
      "--guidance <scale>",
      `${rangeOf(bounds.guidanceScale)} (default: the model's)`,
      parseNumber,
    )
    .option("--seed <integer>", `-1 draws one (default ${defaultSeed})`, parseInteger)
    .addOption(
      new Option(
        "--profile <name>",
        "what the numbers mean; preview: what they meant in training (default preview)",
      ).choices(askedProfileNames),
    );
}

function rangeOf({ ge, le }: { readonly ge: number; readonly le: number }): string {
  return `${ge} to ${le}`;
}

/**
 * What is asked for: the flags, on top of what a file states.
 *
 * @param file undefined: the flags alone
 * @throws InputError naming the flag or the file that can't be used
 */
export async function askedRequest(
  flags: RequestFlags,
  file: string | undefined,
): Promise<AskedRequest> {
  // What is typed has the API's bounds; a file may say what the trainer drew.
  const typed = fieldsOf(flags);
  parsed(boundedRequestSchema.partial(), typed);
  // What reads files takes a while to load: only for those who name one.
  const reader = file === undefined ? undefined : await import("./stated-file.ts");
  const stated = await reader?.readStatedFile(file!, flags.sample);
  if (file === undefined && flags.sample !== undefined)
    throw new InputError("--sample: it chooses from a file. Name the file, or leave it away.");
  const model = flags.model ?? stated?.model ?? defaultModel;
  modelById(model);
  const { loras, multipliers } = await lorasOf(flags, stated?.loras ?? [], (lora) =>
    reader!.findStatedLora(lora, file!),
  );
  const fields: GenerateInput = {
    profile: "preview",
    ...stated?.request,
    ...typed,
    prompt: flags.prompt ?? stated?.request.prompt ?? noPrompt(file),
    loras: loras.map(({ name, file: found }, i) => ({
      path: typeof found === "string" ? found : name,
      multiplier: multipliers[i]!,
    })),
  };
  const request = parsed(
    file === undefined ? boundedRequestSchema : generateRequestSchema,
    fields,
    file,
  );
  return {
    source: stated?.source ?? "flags",
    model,
    request,
    loras,
    tool: stated?.tool ?? null,
    asTrained: stated?.asTrained ?? null,
    warnings: [
      ...(stated?.warnings ?? []),
      ...leftOut(stated?.loras ?? [], flags.lora),
      ...(stated !== undefined && stated.model === null && flags.model === undefined
        ? [`Which model it was is not known: ${defaultModel} is taken. --model takes another.`]
        : []),
    ],
  };
}

function fieldsOf(flags: RequestFlags): Partial<GenerateInput> {
  return given({
    loras: flags.lora?.map(({ path, multiplier }) => ({ path, multiplier: multiplier ?? 1 })),
    prompt: flags.prompt,
    negativePrompt: flags.neg,
    profile: flags.profile as GenerateInput["profile"],
    triggerWord: flags.trigger,
    width: flags.width,
    height: flags.height,
    steps: flags.steps,
    seed: flags.seed,
    guidanceScale: flags.guidance,
  }) as Partial<GenerateInput>; // the schema says whether they are
}

async function lorasOf(
  { lora: typed }: RequestFlags,
  known: readonly StatedLora[],
  find: (lora: StatedLora) => Promise<NamedLora>,
): Promise<{ loras: NamedLora[]; multipliers: number[] }> {
  if (typed !== undefined) {
    return {
      loras: typed.map(({ path }) => ({ name: path, file: path })),
      // A file's LoRA that is replaced keeps its strength.
      multipliers: typed.map(({ multiplier }, i) => multiplier ?? known[i]?.multiplier ?? 1),
    };
  }
  return {
    loras: await Promise.all(known.map(find)),
    multipliers: known.map(({ multiplier }) => multiplier),
  };
}

/** A file's LoRAs are replaced as they come. */
function leftOut(known: readonly StatedLora[], typed: RequestFlags["lora"]): string[] {
  const rest = typed === undefined ? [] : known.slice(typed.length);
  if (rest.length === 0) return [];
  const names = rest.map(({ name }) => name).join(", ");
  return [`--lora names ${typed!.length} of its ${known.length} LoRAs: ${names} is left out.`];
}

function noPrompt(file: string | undefined): never {
  throw new InputError(
    file === undefined
      ? "required option '--prompt <text>' not specified"
      : `${file} holds no prompt that can be read: give --prompt.`,
  );
}

interface Parser<Output> {
  safeParse(value: unknown):
    | { readonly success: true; readonly data: Output }
    | {
        readonly success: false;
        readonly error: { readonly issues: readonly Issue[] };
      };
}

interface Issue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** @param file that a value may be from, for the message */
function parsed<Output>(schema: Parser<Output>, value: unknown, file?: string): Output {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new InputError(
    result.error.issues
      .map(({ path, message }) => {
        const field = path.filter((part) => typeof part !== "number").join(".");
        const flag = flagOf[field] ?? `--${field}`;
        return file === undefined ? `${flag}: ${message}.` : `${file}, ${flag}: ${message}.`;
      })
      .join(" "),
  );
}

export function given<T extends object>(fields: T): Partial<T> {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Partial<T>; // a subset of the fields, nothing else
}

function parseInteger(text: string): bigint {
  if (!/^\s*[+-]?\d+\s*$/.test(text))
    throw new InvalidArgumentError(`"${text}" is not a whole number.`);
  return BigInt(text.trim().replace(/^\+/, ""));
}
