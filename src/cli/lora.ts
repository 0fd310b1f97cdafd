import { extname } from "node:path";
import type { Command } from "commander";
import { Option } from "commander";
import { InputError, oneLine } from "../errors.ts";
import { notWritable, writeWhole } from "../files/whole.ts";
import type { TargetFormat } from "../lora/convert.ts";
import { convertLora, targetFormats } from "../lora/convert.ts";
import type { LoraDescription } from "../lora/describe.ts";
import { describeLora } from "../lora/describe.ts";
import { drawStrength } from "../lora/strength-picture.ts";
import { newestEra } from "../models/eras.ts";
import { profiles } from "../models/profiles.ts";
import { loraFile } from "./lora-file.ts";
import { stoppable } from "./stop-signal.ts";

function addConvertCommand(lora: Command): void {
  lora
    .command("convert")
    .description("write a LoRA in another format; pictures stay the same")
    .argument("<file>", "a .safetensors LoRA, or a folder that PEFT saved")
    .argument("<out>", "the .safetensors file to write; for peft a folder")
    .addOption(
      new Option("--to <format>", "ai-toolkit is read by ComfyUI too")
        .choices(targetFormats)
        .makeOptionMandatory(),
    )
    .action(async (path: string, out: string, { to }: { to: TargetFormat }) => {
      await convertLora(path, to, out);
      process.stdout.write(`${out}\n`);
    });
}

interface LoraFlags {
  readonly json?: boolean;
  readonly strength?: string;
}

export function addLoraCommand(program: Command): void {
  const command = program
    .command("lora")
    .description("say what a LoRA file is, or convert it")
    .argument(
      "<file>",
      "a .safetensors LoRA, a folder that PEFT saved, or a link (https://..., hf:owner/repo)",
    )
    .option("--json", "print JSON")
    .option("--strength <picture>", "draw how strongly each layer is changed, .svg or .png")
    .action(runLora);
  addConvertCommand(command);
}

async function runLora(path: string, { json, strength }: LoraFlags): Promise<void> {
  if (strength !== undefined && !/\.(svg|png)$/i.test(strength)) {
    throw new InputError(`--strength ${strength}: the picture is an .svg or a .png file.`);
  }
  const description = await describeLora(await stoppable((signal) => loraFile(path, signal)));
  if (strength !== undefined) await writeStrength(strength, description);
  process.stdout.write(
    json === true ? `${JSON.stringify(description, null, 2)}\n` : formatted(description),
  );
}

async function writeStrength(path: string, description: LoraDescription): Promise<void> {
  const svg = Buffer.from(drawStrength(description));
  const { default: sharp } = await import("sharp");
  const isSvg = extname(path).toLowerCase() === ".svg";
  const bytes = isSvg ? svg : await sharp(svg, { density: 144 }).png().toBuffer();
  await writeWhole(path, [bytes]).catch((error: unknown) => {
    throw notWritable(path, error);
  });
}

/** Longest bar of the strength by layer, in characters. */
const barLength = 40;

function formatted(lora: LoraDescription): string {
  const line = (label: string, value: unknown) => `${label.padEnd(16)} ${shown(value)}\n`;
  const { preview_era: era } = lora;
  const tags = Object.entries(lora.dataset_tags).map(([tag, count]) => `${tag} (${count})`);
  return (
    line("file", lora.file) +
    line("sha256", lora.sha256) +
    line("format", `${lora.format}, ${lora.network}`) +
    line("name", lora.name) +
    line("version", lora.version) +
    line("base model", lora.base_model) +
    line(
      "trainer",
      [lora.trainer, lora.trainer_version].filter((part) => part !== null).join(" "),
    ) +
    line("trained steps", lora.step) +
    line("epoch", lora.epoch) +
    line("trigger words", lora.trigger_words) +
    line("dataset tags", tags.slice(0, 12)) +
    line("modules", lora.modules) +
    line("parameters", lora.parameters) +
    line("preview era", era === null ? `unknown: ${lora.preview_era_unknown}` : eraText(era)) +
    line("profile", profileText(lora)) +
    lora.groups.map(groupLine).join("") +
    strengthByLayer(lora.strength) +
    defaultWarning(lora) +
    lora.notes.map((note) => `note: ${oneLine(note)}\n`).join("") +
    (lora.unusable === null ? "" : `unusable: ${oneLine(lora.unusable)}\n`) +
    lora.problems.map((problem) => `problem: ${oneLine(problem)}\n`).join("")
  );
}

type PreviewEra = NonNullable<LoraDescription["preview_era"]>;

function eraText({ from, to, doubt, ...era }: PreviewEra): string {
  return (
    `ai-toolkit ${from}${to === null ? " and later" : ` to ${to}`}: guidance ${era.guidance} ` +
    `when above ${era.guidance_above}, ${era.updates} updates, sizes floored to ${era.divisor}` +
    (doubt === null ? "" : ` (${doubt})`)
  );
}

/** What to ask for to get the pictures of its previews. */
function profileText({ preview_era: era }: LoraDescription): string {
  if (era === null) return `${newestEra.name}, the newest era, if nothing else is asked for`;
  const others = era.candidates.slice(1).map((name) => `, or ${name}`);
  return `--profile ${era.name}${others.join("")}: retake generate chooses it by itself`;
}

/** A request to the server means something else if it names no profile. */
function defaultWarning({ preview_era: era }: LoraDescription): string {
  if (era === null) return "";
  const { reference } = profiles;
  const different = [
    ...(era.divisor === reference.divisor
      ? []
      : [`sizes floored to ${reference.divisor}, not to ${era.divisor}`]),
    ...(era.schedule === reference.schedule ? [] : ["N - 1 updates, not N"]),
    ...(era.guidance === reference.guidance && era.guidance_above === reference.guidedAbove
      ? []
      : [`guidance g above 0, not ${era.guidance} above ${era.guidance_above}`]),
  ];
  return different.length === 0
    ? ""
    : `warning: a request to the server has to say "profile": "preview". Without it: ${different.join("; ")}.\n`;
}

function shown(value: unknown): string {
  if (value === null || value === "") return "not said";
  return oneLine(Array.isArray(value) ? value.join(", ") || "none" : String(value));
}

function groupLine({
  group,
  modules,
  rank,
  alpha,
  scale,
  dtype,
}: LoraDescription["groups"][number]) {
  const stored = alpha.length === 0 ? "alpha = rank" : `alpha ${alpha.join("/")}`;
  const factors =
    `rank ${rank.map((r) => r ?? "full").join("/")}  ${stored}  ` +
    `scale ${scale.map((value) => Number(value.toPrecision(4))).join("/")}`;
  return (
    `  ${group.padEnd(36)} ${String(modules).padStart(3)}  ` +
    `${rank.length === 0 ? "whole change" : factors}  ${dtype.join("/")}\n`
  );
}

/** A bar for each layer: the size of all its changes together. */
function strengthByLayer(strength: LoraDescription["strength"]): string {
  const layers = new Map<string, number>();
  for (const [module, value] of Object.entries(strength)) {
    const layer = /^\w+\.\d+/.exec(module)?.[0] ?? module;
    layers.set(layer, Math.hypot(layers.get(layer) ?? 0, value ?? 0));
  }
  const largest = Math.max(...layers.values());
  return [...layers]
    .map(([layer, value]) => {
      const bar = "█".repeat(largest > 0 ? Math.round((value / largest) * barLength) : 0);
      return `  ${layer.padEnd(18)} ${value.toPrecision(3).padStart(9)} ${bar}\n`;
    })
    .join("");
}
