// Which room may import which: the one list that the lint and ARCHITECTURE.md are held to
// (test/walls.test.ts). `node scripts/walls.ts` writes the lint's part after a change.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Lowest first. A room imports from lines before its own; rooms of one line never import each other. */
export const layers: readonly (readonly string[])[] = [
  ["tensor"],
  ["job", "files"],
  ["config", "wire"],
  ["onnx", "net"],
  ["weights"],
  ["hub"],
  ["models"],
  ["prompt", "text-encoder", "sampler", "transformer", "lora", "vae", "image"],
  ["tools"],
  ["pipeline"],
  ["preview", "storage"],
  ["lora-files", "worker"],
  ["queue"],
  ["node", "webhooks"],
  ["http"],
  ["cli"],
];

/** The list as ARCHITECTURE.md prints it. */
export const walls: string = layers.map((rooms) => rooms.join(", ")).join(" ← ");

/** Biome's part: what each room must not import. */
export function lintWalls(): object {
  const overrides = layers.flatMap((rooms, layer) =>
    rooms.flatMap((room) => {
      const denied = layers
        .slice(layer)
        .flat()
        .filter((other) => other !== room);
      if (denied.length === 0) return [];
      const group = denied.map((other) => `../${other}/**`);
      const message = "Imports go downward only: see the walls in ARCHITECTURE.md.";
      const noRestrictedImports = { level: "error", options: { patterns: [{ group, message }] } };
      return {
        includes: [`src/${room}/**`],
        linter: { rules: { style: { noRestrictedImports } } },
      };
    }),
  );
  return { overrides };
}

const script = fileURLToPath(import.meta.url);
export const lintFile: string = fileURLToPath(new URL("../biome.walls.json", import.meta.url));

if (process.argv[1] === script) {
  writeFileSync(lintFile, `${JSON.stringify(lintWalls(), null, 2)}\n`);
}
