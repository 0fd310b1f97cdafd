import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ScriptProcess } from "../../test/processes.ts";

// Each in a process of its own, as Vulkan reads its variables once.

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-choose-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const hasGpu = ["/dev/dri", "/dev/nvidiactl", "/dev/dxg"].some((path) => existsSync(path));
const isBare = process.platform === "linux" && !hasGpu;
const software = "/usr/lib/chromium/vk_swiftshader_icd.json";

/** What `choice` comes to where a Vulkan driver is the one of a manifest. */
async function chosen(
  choice: string,
  manifest: string | null,
  call = `chooseDevice(${JSON.stringify(choice)})`,
) {
  const script = `
    import { chooseDevice } from "./src/onnx/choose-device.ts";
    import { probeDevice } from "./src/onnx/probe-device.ts";
    const [manifest] = args;
    for (const name of ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]) {
      delete process.env[name];
      if (manifest !== "") process.env[name] = manifest;
    }
    const answer = await ${call}.catch((error) => ({ error: error.message }));
    process.stdout.write(JSON.stringify(answer));`;
  const { stdout, stderr } = await new ScriptProcess(script, [manifest ?? ""]).ended();
  expect(stderr).toBe("");
  return JSON.parse(stdout);
}

describe.runIf(isBare)("on a machine without a GPU", () => {
  test("auto is the CPU, and says why", async () => {
    expect(await chosen("auto", null)).toMatchObject({
      device: "cpu",
      reason: "this machine shows no GPU",
      warning: null,
    });
  });

  test("a manifest of no driver: auto is the CPU, and says what was tried", async () => {
    const { device, reason } = await chosen("auto", join(folder, "none.json"));
    expect(device).toBe("cpu");
    expect(reason).toMatch(/^webgpu can't be taken: .*No supported adapters/);
  });

  test("a driver that never answers is given up in time", async () => {
    const pipe = join(folder, "hangs.json");
    execFileSync("mkfifo", [pipe]);
    expect(await chosen("", pipe, 'probeDevice("webgpu", undefined, 3000)')).toEqual({
      problem: "its driver did not answer within 3 seconds",
      facts: null,
    });
  });

  test.runIf(existsSync(software))(
    "a software adapter: never by auto, by its name with a warning",
    async () => {
      const auto = await chosen("auto", software);
      expect(auto.device).toBe("cpu");
      expect(auto.reason).toMatch(
        /^webgpu can't be taken: SwiftShader Device.* is a software adapter/,
      );
      const named = await chosen("webgpu", software);
      expect(named).toMatchObject({
        device: "webgpu",
        reason: null,
        facts: {
          name: expect.stringContaining("SwiftShader"),
          isSoftware: true,
          f16: false,
          fusedAttention: false,
        },
      });
      expect(named.warning).toMatch(/SwiftShader Device.*--device cpu is faster/);
    },
  );
});

test("CUDA's files: the command that fetches them is where they are missed", async () => {
  const { device, error } = await chosen("cuda", null);
  if (device === "cuda") return;
  expect(error).toMatch(/^--device cuda/);
  if (process.platform === "linux" && process.arch === "x64")
    expect(error).toMatch(/script\/install --onnxruntime-node-install=cuda12|cuDNN/);
});
