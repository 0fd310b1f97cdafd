import { expect } from "vitest";
import { findSwiftShader } from "../scripts/software-vulkan.ts";
import { ScriptProcess } from "./processes.ts";

const found = findSwiftShader();
/** A software adapter, where this machine has all that it needs. */
export const hasSwiftShader: boolean = "manifest" in found;
export const swiftShader = "manifest" in found ? found.manifest : "";

/** Runs a script where Vulkan's driver is that of a manifest, in a process of its own: Vulkan reads its variables once. */
export async function onVulkan(manifest: string | null, script: string): Promise<unknown> {
  const setting = `
    const [manifest] = args;
    for (const name of ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]) {
      delete process.env[name];
      if (manifest !== "") process.env[name] = manifest;
    }`;
  const process = new ScriptProcess(
    `${script}${setting}
    process.stdout.write(JSON.stringify(await answer()));`,
    [manifest ?? ""],
  );
  const { code, stdout, stderr } = await process.ended();
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
}
