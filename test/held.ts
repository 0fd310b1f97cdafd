import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Device } from "../src/config/model-options.ts";
import type { ModelDefinition } from "../src/models/registry.ts";
import { chooseDevice } from "../src/onnx/choose-device.ts";
import type { Target } from "../src/onnx/target.ts";
import { cpuTarget, targetFor } from "../src/onnx/target.ts";
import type { ComponentOptions, Components } from "../src/pipeline/components.ts";
import { openComponents } from "../src/pipeline/components.ts";
import { holdWeights } from "../src/pipeline/hold-weights.ts";
import type { HeldStorage } from "../src/pipeline/weight-forms.ts";
import { reads, storageDeviceOf } from "../src/pipeline/weight-forms.ts";

/** What a suite that computes runs with: a device, and how the transformer's weights are held. */
export interface TestRun {
  readonly device: Device;
  readonly storage: HeldStorage;
}

/** A device as it is used, but in f32 and without integer products: what the references are in. */
export async function f32Target(device: Device): Promise<Target> {
  return { ...(await targetFor(device)), compute: "f32", blocks: "compute" };
}

/** What a pipeline takes: the text encoder on the CPU where the device can't read its weights. */
export async function targetsFor(
  device: Device,
  { textEncoder }: Components,
): Promise<{ target: Target; textTarget: Target }> {
  const target = await f32Target(device);
  const { facts } = await chooseDevice(device);
  const readable = [...textEncoder.weights.values()].every(({ dtype }) =>
    reads(storageDeviceOf(device, facts), dtype),
  );
  return { target, textTarget: readable ? target : cpuTarget };
}

/** A model with its transformer's weights held so. What they are made into goes with the run's other files. */
export async function openHeld(
  weights: string,
  model: ModelDefinition,
  { device, storage }: TestRun,
  options: Partial<ComponentOptions> = {},
): Promise<Components> {
  const own = { cacheFolder: join(tmpdir(), "retake-held"), ...options };
  const components = await openComponents(weights, model, own);
  return holdWeights(
    components,
    storage,
    storageDeviceOf(device, (await chooseDevice(device)).facts),
    own,
  );
}
