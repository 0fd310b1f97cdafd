import type { Command } from "commander";
import type { LoraDescription } from "../lora/describe.ts";
import { describeLora } from "../lora/describe.ts";
import { loraFile } from "./lora-file.ts";
import { stoppable } from "./stop-signal.ts";

export function addLoraCommand(program: Command): void {
  program
    .command("lora")
    .description("say what a LoRA file is")
    .argument("<file>", "a .safetensors LoRA, or a link to one (https://..., hf:owner/repo)")
    .option("--json", "print JSON")
    .action(async (path: string, { json }: { json?: boolean }) => {
      const file = await stoppable((signal) => loraFile(path, signal));
      const description = await describeLora(file);
      process.stdout.write(
        json === true ? `${JSON.stringify(description, null, 2)}\n` : formatted(description),
      );
    });
}

function formatted(description: LoraDescription): string {
  return Object.entries(description)
    .map(([key, value]) => {
      if (key === "module_groups") {
        const lines = Object.entries(value ?? {});
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
