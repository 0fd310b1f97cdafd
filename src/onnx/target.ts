import type { Device } from "../config/model-options.ts";
import type { ComputeDtype } from "../tensor/dtype.ts";
import { chooseDevice } from "./choose-device.ts";

/** What a graph is built for and runs on. */
export interface Target {
  readonly device: Device;
  readonly compute: ComputeDtype;
  /** `fused` is com.microsoft.MultiHeadAttention; `plain` is products and a softmax, a few heads at a time. */
  readonly attention: "fused" | "plain";
  /**
   * How matrices in blocks are multiplied: `integers` rounds what they are multiplied with to 8 bits, block by block;
   * `compute` widens them.
   */
  readonly blocks: "integers" | "compute";
  /** `mapped` weights lie in their files; `resident` ones on the device, as inputs of each graph. */
  readonly weights: "mapped" | "resident";
  /** Version of ONNX's operators. */
  readonly opset: 21 | 23;
  /** Whether weights can be f16 there. */
  readonly f16: boolean;
  /** Bytes of the largest tensor that an operator of the device takes; null where none is known. */
  readonly maxBufferBytes: number | null;
}

/** f32, where parity is promised. */
export const cpuTarget: Target = {
  device: "cpu",
  compute: "f32",
  attention: "fused",
  blocks: "integers",
  weights: "mapped",
  opset: 23,
  f16: true,
  maxBufferBytes: null,
};

/**
 * What each device computes in: bf16 as training did where it can, f32 elsewhere. f16 overflows
 * in the demonstration family, and its products add up in f16. DirectML has its kernels by exact
 * versions, none of them 23.
 */
const targets: Readonly<Record<Device, Target>> = {
  cpu: cpuTarget,
  cuda: { ...cpuTarget, device: "cuda", blocks: "compute", compute: "bf16" },
  webgpu: {
    ...cpuTarget,
    device: "webgpu",
    attention: "plain",
    blocks: "compute",
    weights: "resident",
  },
  dml: { ...cpuTarget, device: "dml", attention: "plain", blocks: "compute", opset: 21 },
};

/** For what asks a device what it can do. */
export function untestedTarget(device: Device): Target {
  return targets[device];
}

/**
 * Asks a device, once in a process, what holds there.
 *
 * @throws DeviceError if it can't be opened or computes wrong numbers
 */
export async function targetFor(device: Device): Promise<Target> {
  if (device === "cpu") return cpuTarget;
  const { facts } = await chooseDevice(device);
  return {
    ...targets[device],
    attention: facts.fusedAttention ? "fused" : "plain",
    f16: facts.f16,
    maxBufferBytes: facts.maxBufferBytes,
  };
}
