import type { Command } from "commander";
import { defaultSeed } from "../job/seed.ts";
import { profileFacts, profiles } from "../models/profiles.ts";
import { models } from "../models/registry.ts";

export function addModelsCommand(program: Command): void {
  program
    .command("models")
    .description("list the models, where their weights come from and their defaults")
    .option("--json", "print JSON")
    .action(({ json }: { json?: boolean }) => {
      if (json === true) {
        const list = models.map((model) => ({ ...model, seed: Number(defaultSeed) }));
        process.stdout.write(
          `${JSON.stringify({ models: list, profiles: Object.values(profiles).map(profileFacts) }, null, 2)}\n`,
        );
        return;
      }
      for (const model of models) {
        process.stdout.write(
          `${model.id}\n` +
            `  transformer  ${model.transformerRepository}\n` +
            `  the rest     ${model.repository}\n` +
            `  defaults     ${model.steps} steps, guidance ${model.guidanceScale}, seed ${defaultSeed}, ` +
            `${model.width}x${model.height}\n`,
        );
      }
    });
}
