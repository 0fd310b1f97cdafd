import type { Command } from "commander";
import type { LoraFile } from "../lora/file.ts";
import { readLora } from "../lora/file.ts";
import { networkOf } from "../lora/format.ts";
import { loadAdapter } from "../lora/values.ts";

export function addLoraCommand(program: Command): void {
  program
    .command("lora")
    .description("say what a LoRA file is")
    .argument("<file>", "a .safetensors LoRA")
    .option("--json", "print JSON")
    .action(async (path: string, { json }: { json?: boolean }) => {
      const lora = await readLora(path);
      const adapter = await loadAdapter(lora);
      const scales = [...adapter.values()].map(({ scale }) => scale);
      const description = describe(lora, scales);
      process.stdout.write(
        json === true ? `${JSON.stringify(description, null, 2)}\n` : formatted(description),
      );
    });
}

function describe(
  { file, sha256, format, info, modules }: LoraFile,
  scales: readonly number[],
): object {
  const groups: Record<string, number> = {};
  for (const name of modules.keys()) {
    const group = name.replace(/\.\d+\./, ".*.");
    groups[group] = (groups[group] ?? 0) + 1;
  }
  const found = [...modules.values()];
  return {
    file,
    sha256,
    name: info.outputName,
    base_model: info.baseModel,
    trainer: info.trainer,
    trainer_version: info.trainerVersion,
    step: info.step,
    epoch: info.epoch,
    trigger_words: info.triggerWords,
    format,
    network: networkOf(modules.values()),
    rank: distinct(found.map(({ delta }) => delta.rank)),
    alpha: found.every(({ alpha, headerScale }) => alpha === null && headerScale === 1)
      ? "none stored (alpha = rank)"
      : "stored",
    scale: distinct(scales),
    modules: modules.size,
    module_groups: groups,
  };
}

function distinct<T>(values: readonly T[]): T | T[] {
  const all = [...new Set(values)].sort();
  return all.length === 1 ? all[0]! : all;
}

function formatted(description: object): string {
  return Object.entries(description)
    .map(([key, value]) => {
      if (key === "module_groups") {
        const lines = Object.entries(value as Record<string, number>); // built above
        return lines.map(([group, count]) => `  ${group}  ${count}\n`).join("");
      }
      const text =
        value === null
          ? "not said"
          : Array.isArray(value)
            ? value.join(", ") || "none"
            : String(value);
      return `${key.replaceAll("_", " ").padEnd(16)} ${text}\n`;
    })
    .join("");
}
