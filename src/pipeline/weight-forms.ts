import type { Device, Storage } from "../config/model-options.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import type { DeviceFacts } from "../onnx/probe-answer.ts";
import type { Dtype } from "../tensor/dtype.ts";
import { dtypeBytes } from "../tensor/dtype.ts";
import { sizeOf } from "../tensor/tensor.ts";
import type { TransformerConfig } from "../transformer/config.ts";
import { blockMatrices, isEmbedder, transformerWeights } from "../transformer/weight-shapes.ts";
import type { HeldDtype } from "../weights/convert.ts";
import { int8Bytes } from "../weights/quantize-int8.ts";
import type { Component } from "./components.ts";

/** A storage that was chosen. */
export type HeldStorage = Exclude<Storage, "auto">;

/** What of a device decides in which forms weights can lie on it. */
export interface StorageDevice {
  readonly device: Device;
  /** Its memory in bytes; null: it doesn't say. */
  readonly memoryBytes: number | null;
  /** Whether it can read f16. */
  readonly hasF16: boolean;
  /** Of the largest tensor; null: none is known. */
  readonly maxBufferBytes: number | null;
}

/** Of memory that a GPU shares with the processor, systems leave it about so much (Metal's recommended working set). */
const sharedPart = 0.75;

/** What of a device decides it. */
export function storageDeviceOf(
  device: Device,
  { memoryBytes, isShared, f16, maxBufferBytes }: DeviceFacts,
): StorageDevice {
  const own = isShared && memoryBytes !== null ? Math.floor(memoryBytes * sharedPart) : memoryBytes;
  return { device, memoryBytes: own, hasF16: f16, maxBufferBytes };
}

/** What a weight is made into; `stored`: it is used where it lies. */
export type Form = HeldDtype | "int8" | "stored";

/** How each weight of a transformer is held in a storage. */
export function weightForms(
  { config, weights }: Pick<Component<TransformerConfig>, "config" | "weights">,
  storage: HeldStorage,
  device: StorageDevice,
): Map<string, Form> {
  const narrow = new Set(storage === "int8" ? blockMatrices(config) : []);
  return new Map(
    [...transformerWeights(config).keys()].map((name) => {
      const span = weights.get(name)!;
      if (span.blocks !== undefined) return [name, "stored"];
      if (narrow.has(name)) return [name, "int8"];
      return [name, plainForm(name, span, storage, device)];
    }),
  );
}

function plainForm(
  name: string,
  span: WeightSpan,
  storage: HeldStorage,
  device: StorageDevice,
): Form {
  if (storage !== "f32" && storage !== "f16" && reads(device, span.dtype)) return "stored";
  const halves = storage === "f16" || (storage !== "f32" && device.hasF16);
  const form = halves && isLarge(name, span) ? "F16" : "F32";
  return span.dtype === form ? "stored" : form;
}

/** A matrix of a block. What is small, or read by all blocks, keeps its whole precision. */
export function isLarge(name: string, { shape }: WeightSpan): boolean {
  return shape.length === 2 && shape[0] !== 1 && !isEmbedder(name);
}

/** Whether graphs on a device can take a dtype as it is. */
export function reads({ device, hasF16 }: StorageDevice, dtype: Dtype): boolean {
  if (device === "cpu" || device === "cuda") return true;
  return dtype === "F32" || dtype === "U8" || (dtype === "F16" && hasF16);
}

/** Bytes of a weight in a form, its scales included. */
export function formBytes({ shape, byteLength, scale, blocks }: WeightSpan, form: Form): number {
  if (form === "int8") return int8Bytes(shape);
  const own = form === "stored" ? byteLength : sizeOf(shape) * dtypeBytes[form];
  return [scale, blocks?.scales, blocks?.offsets].reduce(
    (bytes, part) => bytes + (part?.byteLength ?? 0),
    own,
  );
}
