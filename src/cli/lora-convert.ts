import { existsSync } from "node:fs";
import type { Command } from "commander";
import { Option } from "commander";
import { InputError } from "../errors.ts";
import type { TargetFormat } from "../lora/convert.ts";
import { convertLora, targetFormats } from "../lora/convert.ts";
import { readLora } from "../lora/file.ts";

export function addConvertCommand(lora: Command): void {
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
      if (existsSync(out)) {
        throw new InputError(`${out} exists. Name a file that doesn't, or delete it first.`);
      }
      if (to !== "peft" && !out.endsWith(".safetensors")) {
        throw new InputError(`${out}: a LoRA is a .safetensors file. Change the ending.`);
      }
      await convertLora(await readLora(path), to, out);
      process.stdout.write(`${out}\n`);
    });
}
