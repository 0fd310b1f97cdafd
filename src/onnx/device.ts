import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { listSupportedBackends } from "onnxruntime-node";
import type { Device } from "../config/model-options.ts";
import { InputError } from "../errors.ts";

/** What the CUDA files come with: a clone or a program that has Retake as a dependency, alike. */
const cudaCommand =
  "node node_modules/onnxruntime-node/script/install --onnxruntime-node-install=cuda12";

const needs: Readonly<Record<Exclude<Device, "cpu">, string>> = {
  cuda: "It needs Linux on x64 with an NVIDIA driver, CUDA 12 and cuDNN 9.",
  webgpu: "It needs Windows, macOS or Linux on x64 with a Vulkan, Metal or Direct3D 12 driver.",
  dml: "It needs Windows with a Direct3D 12 driver.",
};

/** A device that is not here, can't be started, or computes wrong numbers. */
export class DeviceError extends InputError {}

/** @throws DeviceError if this installation of ONNX Runtime has no such execution provider. */
export function providerFor(device: Device): string {
  const available = listSupportedBackends().map((backend) => backend.name);
  if (device !== "cpu" && !available.includes(device)) {
    throw new DeviceError(
      `--device ${device} is not in this installation of ONNX Runtime (it has ${available.join(", ")}). ` +
        `${needs[device]} Or use --device cpu.`,
    );
  }
  if (device === "cuda" && !hasCudaFiles()) {
    throw new DeviceError(
      `--device cuda: ONNX Runtime's CUDA files are not here, as its npm package has none. Add them: \`${cudaCommand}\`. ` +
        `${needs.cuda} Or use --device cpu.`,
    );
  }
  return device;
}

/** The runtime says that it has CUDA on every Linux on x64: whether its files are there, is another matter. */
export function hasCudaFiles(): boolean {
  const manifest = createRequire(import.meta.url).resolve("onnxruntime-node/package.json");
  const folder = join(dirname(manifest), "bin/napi-v6", process.platform, process.arch);
  return ["cuda", "shared"].every((part) =>
    existsSync(join(folder, `libonnxruntime_providers_${part}.so`)),
  );
}
