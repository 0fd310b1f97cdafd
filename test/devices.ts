import { type Device, devices } from "../src/config/model-options.ts";
import type { Target } from "../src/onnx/target.ts";
import { targetFor } from "../src/onnx/target.ts";

/** What the suites that compute run on: the CPU, or the devices that RETAKE_TEST_DEVICES names, as in `cpu,cuda`. */
export const testDevices: readonly Device[] = (process.env.RETAKE_TEST_DEVICES ?? "cpu")
  .split(",")
  .map((name) => {
    const device = devices.find((known) => known === name.trim());
    if (device === undefined) throw new Error(`RETAKE_TEST_DEVICES: there is no device ${name}`);
    return device;
  });

/** A device as it is used, but in f32: what the references are in. */
export async function f32Target(device: Device): Promise<Target> {
  return { ...(await targetFor(device)), compute: "f32" };
}
