import { existsSync } from "node:fs";
import { expect } from "vitest";
import { ScriptProcess } from "./processes.ts";

/** A software adapter that comes with Debian's chromium. */
export const swiftShader = "/usr/lib/chromium/vk_swiftshader_icd.json";
export const hasSwiftShader: boolean = process.platform === "linux" && existsSync(swiftShader);

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
