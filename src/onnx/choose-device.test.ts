import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hasSwiftShader, onVulkan, swiftShader } from "../../test/vulkan-process.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-choose-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const hasGpu = ["/dev/dri", "/dev/nvidiactl", "/dev/dxg"].some((path) => existsSync(path));

/** What a choice comes to with a Vulkan driver. */
const chosen = (choice: string, manifest: string | null) =>
  onVulkan(
    manifest,
    `import { chooseDevice } from "./src/onnx/choose-device.ts";
    const answer = () => chooseDevice("${choice}").catch(({ message }) => ({ error: message }));`,
  );

describe.runIf(process.platform === "linux" && !hasGpu)("on a machine without a GPU", () => {
  test("auto is the CPU, and says why", async () => {
    expect(await chosen("auto", null)).toMatchObject({
      device: "cpu",
      reason: "this machine shows no GPU",
      warning: null,
    });
  });

  test("with a manifest of no driver auto is the CPU, and says what was tried", async () => {
    expect(await chosen("auto", join(folder, "none.json"))).toMatchObject({
      device: "cpu",
      reason: expect.stringMatching(/^webgpu can't be taken: \S/),
    });
  });

  test.runIf(hasSwiftShader)("a driver that never answers is given up in time", async () => {
    const pipe = join(folder, "hangs.json");
    execFileSync("mkfifo", [pipe]);
    const script = `import { probeDevice } from "./src/onnx/probe-device.ts";
      const answer = () => probeDevice("webgpu", { mostSilent: 3000 });`;
    expect(await onVulkan(pipe, script)).toEqual({
      problem: "its driver did not answer within 3 seconds",
      facts: null,
    });
  });

  test.runIf(hasSwiftShader)("auto never takes a software adapter", async () => {
    expect(await chosen("auto", swiftShader)).toMatchObject({
      device: "cpu",
      reason: expect.stringMatching(
        /^webgpu can't be taken: SwiftShader Device.* is a software adapter/,
      ),
    });
  });

  test.runIf(hasSwiftShader)(
    "a software adapter that is named computes, with a warning",
    async () => {
      expect(await chosen("webgpu", swiftShader)).toMatchObject({
        device: "webgpu",
        reason: null,
        warning: expect.stringMatching(/SwiftShader Device.*--device cpu is faster/),
        facts: {
          name: expect.stringContaining("SwiftShader"),
          driver: expect.stringContaining("libvk_swiftshader.so"),
          isSoftware: true,
          f16: false,
          // The runtime's flash attention is wrong there.
          fusedAttention: false,
          maxBufferBytes: 2 ** 28,
        },
      });
    },
  );
});

test("whoever misses CUDA's files reads the command that fetches them", async () => {
  const isThere = process.platform === "linux" && process.arch === "x64";
  const answer = await chosen("cuda", null);
  if (isThere && !("error" in (answer as object))) return;
  expect(answer).toMatchObject({
    error: expect.stringMatching(
      isThere
        ? /script\/install --onnxruntime-node-install=cuda12|libcu/
        : /^--device cuda is not in this installation/,
    ),
  });
});
