import type { Command } from "commander";
import { models } from "../models/registry.ts";

export function addModelsCommand(program: Command): void {
  program
    .command("models")
    .description("list the models, where their weights come from and their defaults")
    .option("--json", "print JSON")
    .action(({ json }: { json?: boolean }) => {
      if (json === true) {
        const list = models.map(({ seed, ...model }) => ({ ...model, seed: Number(seed) }));
        process.stdout.write(`${JSON.stringify({ models: list }, null, 2)}\n`);
        return;
      }
      for (const model of models) {
        process.stdout.write(
          `${model.id}\n` +
            `  transformer  ${model.transformerRepository}\n` +
            `  the rest     ${model.repository}\n` +
            `  defaults     ${model.steps} steps, guidance ${model.guidanceScale}, seed ${model.seed}, ` +
            `${model.width}x${model.height}\n`,
        );
      }
    });
}
