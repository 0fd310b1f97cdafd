import { expect, test } from "vitest";
import { hasSwiftShader, onVulkan, swiftShader } from "../../test/vulkan-process.ts";
import { attentionAnswers } from "./known-layers.ts";
import { faultsOf, selfTest } from "./self-test.ts";
import { cpuTarget } from "./target.ts";

test("a device that is right in everything passes", async () => {
  expect(await selfTest(cpuTarget)).toEqual({ wrong: [], fusedAttention: true, f16: true });
});

test("the attention case that tells a wrong device is right on a right one", async () => {
  expect(await faultsOf(attentionAnswers([32, 1, 64]), cpuTarget)).toEqual([]);
});

test("operators that a device doesn't have are named, each", async () => {
  // The CPU has hardly any kernel for bf16.
  const { wrong, fusedAttention } = await selfTest({ ...cpuTarget, compute: "bf16" });
  expect(wrong.length).toBeGreaterThan(20);
  expect(wrong).toContainEqual(expect.stringMatching(/^MatMul fails: .*implementation for MatMul/));
  expect(wrong).toContainEqual(expect.stringMatching(/^Conv fails: /));
  expect(fusedAttention).toBe(false);
});

test.runIf(hasSwiftShader)(
  "numbers that are wrong are told, in the fused attention of a software device",
  async () => {
    const script = `
    import { attentionAnswers } from "./src/onnx/known-layers.ts";
    import { faultsOf } from "./src/onnx/self-test.ts";
    import { untestedTarget } from "./src/onnx/target.ts";
    const answer = () => faultsOf(attentionAnswers([32, 1, 64]), untestedTarget("webgpu"));`;
    expect(await onVulkan(swiftShader, script)).toContainEqual(
      expect.stringMatching(/^MultiHeadAttention gives \S+ for [\d.]+$/),
    );
  },
);

test.runIf(hasSwiftShader)(
  "what a device has no memory for ends a run, and not the next one",
  async () => {
    const script = `
    import { adds } from "./src/onnx/largest-buffer.ts";
    import { untestedTarget } from "./src/onnx/target.ts";
    const target = untestedTarget("webgpu");
    const answer = async () => [
      await adds(2 ** 32, target).catch(({ name, message }) => name + ": " + message),
      await adds(2 ** 20, target),
    ];`;
    expect(await onVulkan(swiftShader, script)).toEqual([
      expect.stringMatching(
        /^DeviceLostError: --device webgpu: the device failed in the middle of a run/,
      ),
      true,
    ]);
  },
);
