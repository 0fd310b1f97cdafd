import { readFileSync } from "node:fs";
import { z } from "zod";
import { InputError } from "./errors.ts";
import { manifestFile } from "./paths.ts";

const manifestSchema = z.object({ peerDependencies: z.record(z.string(), z.string()) });

/**
 * Loads what needs packages that come along with nobody who does not ask for them: optional
 * peerDependencies in package.json, whose versions hold.
 *
 * @param setting what asked for them
 * @throws InputError naming the setting and the command that adds the packages
 */
export async function loadOptional<Loaded>(
  setting: string,
  packages: readonly string[],
  load: () => Promise<Loaded>,
): Promise<Loaded> {
  try {
    return await load();
  } catch (error) {
    const isMissing =
      error instanceof Error && "code" in error && error.code === "ERR_MODULE_NOT_FOUND";
    const missing = packages.find((name) => isMissing && error.message.includes(`'${name}'`));
    if (missing === undefined) throw error;
    const { peerDependencies } = manifestSchema.parse(
      JSON.parse(readFileSync(manifestFile, "utf8")),
    );
    const versions = packages.map((name) => `${name}@${peerDependencies[name]}`);
    throw new InputError(
      `${setting} needs the package ${missing}, which is not installed. Add it: npm install ${versions.join(" ")} ` +
        "(in a clone of Retake: npm ci). Or leave the setting away.",
      { cause: error },
    );
  }
}
