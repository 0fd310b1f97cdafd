import type { Command } from "commander";
import { oneLine } from "../errors.ts";
import { models } from "../models/registry.ts";
import { inspectModel } from "../pipeline/inspect.ts";
import type { Explaining } from "../preview/explain.ts";
import { explain } from "../preview/explain.ts";
import type { Explanation } from "../wire/explain-answers.ts";
import type { AsTrainedFlags } from "./as-trained.ts";
import { addAsTrainedOptions, roundingOfFlags } from "./as-trained.ts";
import { loraFile } from "./lora-file.ts";
import type { AskedRequest, RequestFlags } from "./request-flags.ts";
import { addRequestOptions, askedRequest } from "./request-flags.ts";
import { readStoreSettings } from "./settings.ts";
import { stoppable } from "./stop-signal.ts";

export interface ExplainFlags extends AsTrainedFlags, RequestFlags {
  readonly weights?: string;
  readonly json?: boolean;
}

export function addExplainCommand(program: Command): void {
  const command = program
    .command("explain")
    .description("say everything that decides how a picture looks, without drawing it")
    .argument(
      "[file]",
      "a picture (Retake, ComfyUI, A1111 and kin), a request or a job's configuration; without it, the flags",
    );
  addRequestOptions(command)
    .option("--weights <folder>", "model store, hub cache folder, hub, or demo (RETAKE_WEIGHTS)")
    .option("--json", "print JSON")
    .action((file: string | undefined, flags: ExplainFlags) =>
      stoppable(async (signal) => {
        const { explanation } = await explained(await askedRequest(flags, file), flags, signal);
        process.stdout.write(
          flags.json === true ? `${JSON.stringify(explanation, null, 2)}\n` : inText(explanation),
        );
      }),
    );
  addAsTrainedOptions(command);
}

/** What a request comes to with the weights and LoRAs of this machine. */
export async function explained(
  asked: AskedRequest,
  flags: ExplainFlags,
  signal: AbortSignal,
): Promise<Explaining> {
  const { weights } = readStoreSettings({ RETAKE_WEIGHTS: flags.weights });
  const loras = await Promise.all(
    asked.loras.map(async ({ name, file }) => ({
      name,
      file: typeof file === "string" ? await loraFile(file, signal) : file,
    })),
  );
  const read = {
    loras: loras.flatMap(({ file }) =>
      typeof file === "string" ? [{ path: file, multiplier: 1 }] : [],
    ),
  };
  const rounding = await roundingOfFlags(flags, asked.model, read);
  const model = models.find(({ id }) => id === asked.model)!;
  return await explain({
    ...asked,
    loras,
    asTrained: rounding ?? (flags.asTrained === undefined ? asked.asTrained : null),
    report: await inspectModel(weights, model),
  });
}

function inText(told: Explanation): string {
  const { profile, size, steps, guidance, prompt, negative_prompt: negative } = told;
  return [
    line("from", told.source),
    ...(told.tool?.settings ?? []).map(({ name, value }, i) =>
      line(i === 0 ? "in its words" : "", `${name.padEnd(24)} ${value}`),
    ),
    line("model", told.model),
    line("profile", profile.reason === null ? profile.name : `${profile.name}: ${profile.reason}`),
    line(
      "size",
      `${size.width} x ${size.height}` +
        (size.asked.join() === `${size.width},${size.height}`
          ? ""
          : `, floored from ${size.asked.join(" x ")} to multiples of ${size.divisor}`),
    ),
    line("steps", `${steps.asked}, which make ${steps.updates} updates (shift ${steps.shift})`),
    line("sigmas", steps.sigmas.map((sigma) => Number(sigma.toFixed(4))).join(" ")),
    line(
      "guidance",
      guidance.weight === 0
        ? `${guidance.scale}: no guidance, one pass`
        : `${guidance.scale}: weight ${guidance.weight}, standard CFG ${guidance.standard_cfg}`,
    ),
    ...guidance.meanings.map(({ where, name, value }) =>
      line("", `${where.padEnd(24)} ${name} ${value ?? "none gives the same"}`),
    ),
    line("prompt", `${prompt.text}${tokens(prompt)}`),
    line(
      "negative prompt",
      told.negative_counts
        ? `${negative.text || "empty"}${tokens(negative)}`
        : "does not count: there is no guidance",
    ),
    line("seed", `${told.seed}, from ${told.noise}`),
    ...told.loras.flatMap(loraLines),
    ...told.weights.map(({ name, state, stored, bytes }) =>
      line(
        name,
        state === "there"
          ? `${stored.join(", ")}, ${Math.ceil(bytes / 2 ** 20)} MiB`
          : `${state}: retake doctor says more`,
      ),
    ),
    line("rounded", rounded(told.as_trained)),
    ...told.warnings.map((warning) => `warning: ${oneLine(warning)}\n`),
  ].join("");
}

function line(label: string, value: string): string {
  return `${label.padEnd(16)} ${oneLine(value)}\n`;
}

function rounded(asTrained: Explanation["as_trained"]): string {
  if (asTrained === null) return "no: weights run as they are stored";
  const { transformer, text_encoder: encoder, embedders, training_adapter: adapter } = asTrained;
  return [
    `as in training: transformer ${transformer}`,
    `text encoder ${encoder}`,
    embedders ? "embedders too" : "embedders not",
    ...(adapter === null ? [] : [`with ${adapter}`]),
  ].join(", ");
}

function tokens({ tokens: count }: Explanation["prompt"]): string {
  return count === null ? "" : ` (${count} tokens)`;
}

function loraLines(lora: Explanation["loras"][number]): string[] {
  const { name, network_multiplier: multiplier, format, network, modules, of } = lora;
  const what =
    format === null
      ? "not looked at"
      : `${format}, ${network}, ${modules} of ${of ?? "?"} modules act`;
  return [
    line("lora", `${name} at ${multiplier}: ${what}`),
    ...lora.groups.map((group) =>
      line("", `${group.group.padEnd(36)} ${group.modules} of ${group.of}`),
    ),
  ];
}
