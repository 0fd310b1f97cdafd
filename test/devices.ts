import { type Device, devices } from "../src/config/model-options.ts";

/** What the suites that compute run on: the CPU, or the devices that RETAKE_TEST_DEVICES names, as in `cpu,cuda`. */
export const testDevices: readonly Device[] = (process.env.RETAKE_TEST_DEVICES ?? "cpu")
  .split(",")
  .map((name) => {
    const device = devices.find((known) => known === name.trim());
    if (device === undefined) throw new Error(`RETAKE_TEST_DEVICES: there is no device ${name}`);
    return device;
  });
