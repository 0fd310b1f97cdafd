import { totalmem } from "node:os";
import { expect, test } from "vitest";
import { adapterIn, memoryOf } from "./device-facts.ts";

// What Vulkan loaders write, on one line each, as they wrote it to us or, of cards that we don't
// have, in the same words. Of Windows the words are those of the runtime's source.

const used = (name: string, driver: string) =>
  `[Vulkan Loader] DRIVER:  Using "${name}" with driver: "${driver}"\n`;

test.each([
  ["llvmpipe (LLVM 19.1.7, 256 bits)", true],
  ["SwiftShader Device (Subzero)", true],
  ["Microsoft Direct3D12 (Microsoft Basic Render Driver)", true],
  ["AMD Radeon RX 7800 XT (RADV NAVI32)", false],
  ["NVIDIA GeForce RTX 4070", false],
])("%s: software is %s", (name, isSoftware) => {
  const log = `${used("another that was tried first", "a.so")}${used(name, "libvulkan_x.so")}`;
  expect(adapterIn(log, "webgpu", "linux")).toEqual({ name, driver: "libvulkan_x.so", isSoftware });
});

test("a loader that only lists devices tells of which kind they are, if they are of one", () => {
  const listed = (...names: string[]) =>
    names.map((name, i) => `INFO:            [${i}] ${name}  \n`).join("");
  const of = (log: string) => adapterIn(log, "webgpu", "linux");
  expect(of(listed("llvmpipe (LLVM 15)"))).toMatchObject({
    name: "llvmpipe (LLVM 15)",
    isSoftware: true,
  });
  expect(of(listed("Intel(R) Iris", "NVIDIA T4"))).toMatchObject({ name: null, isSoftware: false });
  expect(of(listed("Intel(R) Iris", "llvmpipe (LLVM 15)"))).toMatchObject({
    name: null,
    isSoftware: null,
  });
  expect(of("")).toEqual({ name: null, driver: null, isSoftware: null });
});

test("on Windows WebGPU takes the fastest GPU and DirectML the first; without one it is software", () => {
  const gpu = (name: string, number: number, rank: number) =>
    `2026 [I:onnxruntime:, device_discovery_common.cc:34] Discovered OrtHardwareDevice {vendor_id:0x10de, device_id:0x1, vendor:X, type:1, metadata: [Description=${name}, DxgiAdapterNumber=${number}, DxgiHighPerformanceIndex=${rank}, DxgiVideoMemory=8192 MB, Discrete=1, ]}\n`;
  const log = gpu("Intel UHD", 0, 1) + gpu("GeForce", 1, 0);
  expect(adapterIn(log, "webgpu", "win32")).toMatchObject({ name: "GeForce", isSoftware: false });
  expect(adapterIn(log, "dml", "win32")).toMatchObject({ name: "Intel UHD", isSoftware: false });
  expect(adapterIn("", "webgpu", "win32")).toMatchObject({ name: null, isSoftware: true });
});

test.runIf(process.platform === "linux")("memory that nobody tells is not known", async () => {
  const of = (name: string, isSoftware: boolean) =>
    memoryOf({ name, driver: null, isSoftware }, "webgpu", "");
  const shared = { memoryBytes: totalmem(), isShared: true };
  expect(await of("llvmpipe", true)).toEqual(shared);
  expect(await of("Intel(R) Iris(R) Xe Graphics (TGL GT2)", false)).toEqual(shared);
  expect(await of("Intel(R) Arc(tm) A770 Graphics (DG2)", false)).toEqual({
    memoryBytes: null,
    isShared: false,
  });
  expect(await of("A card of tomorrow", false)).toEqual({ memoryBytes: null, isShared: false });
});
