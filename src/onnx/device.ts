import { listSupportedBackends } from "onnxruntime-node";
import type { Device } from "../config/model-options.ts";
import { InputError, messageOf, oneLine } from "../errors.ts";

const howToInstall: Record<Exclude<Device, "cpu">, string> = {
  cuda:
    "It needs Linux on x64, an NVIDIA driver with CUDA 12 and cuDNN 9, and the runtime's CUDA " +
    "files: run `node node_modules/onnxruntime-node/script/install --onnxruntime-node-install=cuda12`.",
  webgpu: "It needs Windows, macOS or Linux on x64 with a Vulkan, Metal or Direct3D 12 driver.",
  coreml: "It needs macOS.",
  dml: "It needs Windows with a Direct3D 12 driver.",
};

/** A device that is not here, or can't be started. */
export class DeviceError extends InputError {}

/** A device failed in the middle of a run: its driver was reset, or its memory did not suffice. What lay on it is gone. */
export class DeviceLostError extends Error {
  override readonly name = "DeviceLostError";

  constructor(device: Device, cause: unknown) {
    super(
      `--device ${device}: the device failed in the middle of a run. The runtime says: ${oneLine(messageOf(cause))}`,
      { cause },
    );
  }
}

/** @throws DeviceError if this installation of ONNX Runtime has no such execution provider. */
export function providerFor(device: Device): string {
  const available = listSupportedBackends().map((backend) => backend.name);
  if (device !== "cpu" && !available.includes(device)) {
    throw new DeviceError(
      `--device ${device} is not in this installation of ONNX Runtime (it has ${available.join(", ")}). ` +
        `${howToInstall[device]} Or use --device cpu.`,
    );
  }
  return device;
}
