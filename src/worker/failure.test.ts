import { expect, test } from "vitest";
import { DeviceLostError } from "../errors.ts";
import { DeviceError } from "../onnx/device.ts";
import { failureOf } from "./failure.ts";

const logged: string[] = [];
const telling = {
  pathNames: new Map<string, string>(),
  log: (error: unknown) => void logged.push(String(error)),
};
const lost = new DeviceLostError("webgpu", new Error("VK_ERROR_DEVICE_LOST at /secret/driver.so"));

test("a device that fails in the middle of a run: another run may do it, and the operator reads why", () => {
  const reached = { model: "zimage", where: "prompt 2 of 2: ", promptIndex: 1, images: [] };
  const { failure, retryable } = failureOf(lost, reached, telling);
  expect(retryable).toBe(true);
  expect(failure).toMatchObject({ code: "DEVICE_LOST", promptIndex: 1 });
  expect(failure.message).toMatch(/^prompt 2 of 2: The device .* failed in the middle of the run/);
  expect(failure.message).not.toContain("secret");
  expect(logged.join()).toContain("VK_ERROR_DEVICE_LOST");
  // The model was open: now there is no memory for a network of it.
  const late = failureOf(new DeviceError("no memory"), reached, telling);
  expect([late.failure.code, late.retryable]).toEqual(["DEVICE_LOST", true]);
});

test("a device that can't be opened is no matter of another run", () => {
  const reached = { model: "zimage", where: "", promptIndex: null, images: [] };
  const { failure, retryable } = failureOf(new DeviceError("not here"), reached, telling);
  expect([failure.code, retryable]).toEqual(["DEVICE_NOT_AVAILABLE", false]);
});
