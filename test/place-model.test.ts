import { beforeAll, expect, test } from "vitest";
import { deviceStorages, storageLine } from "../src/cli/storage-lines.ts";
import { InputError } from "../src/errors.ts";
import { modelById } from "../src/models/registry.ts";
import type { ChosenDevice } from "../src/onnx/choose-device.ts";
import type { Components } from "../src/pipeline/components.ts";
import { openComponents } from "../src/pipeline/components.ts";
import { placeModel } from "../src/pipeline/place-model.ts";
import { storageNeed } from "../src/pipeline/storage-need.ts";

let outline: Components;
beforeAll(async () => {
  outline = await openComponents("demo", modelById("zimage_turbo"));
});

/** A graphics card that this machine need not have: what is known of it decides, nothing opens it. */
function card(memoryBytes: number | null, reason: string | null): ChosenDevice {
  const facts = {
    name: "Some Card",
    driver: "1.0",
    isSoftware: false,
    memoryBytes,
    isShared: false,
    f16: true,
    fusedAttention: false,
    maxBufferBytes: 2 ** 28,
  };
  return { device: "webgpu", facts, reason, warning: null };
}

test("a model that fits goes to the device, whoever took it", async () => {
  for (const reason of [null, "it opens and computes right numbers"]) {
    const { chosen, storage } = await placeModel(outline, "auto", true, card(8e9, reason));
    expect(chosen.device).toBe("webgpu");
    expect(storage).toMatchObject({ storage: "f16", insteadOf: null, textOnDevice: false });
  }
});

test("where auto took a card that can't hold it, the CPU does, and it is said", async () => {
  const { chosen, storage } = await placeModel(outline, "auto", true, card(0.6e9, "it opens"));
  expect(chosen).toMatchObject({ device: "cpu", reason: storage.insteadOf });
  expect(storage).toMatchObject({ storage: "original", device: "cpu" });
  expect(storage.insteadOf).toMatch(
    /^auto took webgpu, and the model doesn't fit on webgpu: .* MB/,
  );
});

test("a card that was named is refused, with numbers", async () => {
  const named = placeModel(outline, "auto", true, card(0.6e9, null));
  await expect(named).rejects.toThrow(InputError);
  await expect(named).rejects.toThrow(
    /doesn't fit on webgpu: 1024x1024 needs f16 \d.* and it has 600\.0 MB/,
  );
});

test("the doctor's line: what a device needs, of how much, and the other storages", () => {
  const line = (memoryBytes: number | null) => {
    const { facts } = card(memoryBytes, null);
    const [found] = deviceStorages(
      outline,
      [
        { name: "webgpu", facts, problem: null },
        { name: "cpu", facts, problem: null },
      ],
      new InputError("the server's settings can't be used"),
    );
    return storageLine(found!);
  };
  expect(line(8e9)).toMatch(
    /^ {2}webgpu {8}needs [\d.]+ MB of 8\.0 GB at 1024x1024 with storage f16; int8 [\d.]+ MB\n$/,
  );
  expect(line(null)).toMatch(
    /with storage int8 \(webgpu doesn't say how much memory it has.*; f16 /,
  );
  expect(line(0.6e9)).toMatch(/^ {2}webgpu {8}the model doesn't fit on webgpu: /);
});

test("the need is that of the weights as they will be held", () => {
  const device = {
    device: "dml",
    memoryBytes: null,
    hasF16: true,
    maxBufferBytes: null,
  } as const;
  const { transformer, isReadable } = storageNeed(outline, device, false);
  const bytes = [...outline.transformer.weights.values()].map(({ byteLength }) => byteLength);
  const stored = bytes.reduce((sum, size) => sum + size, 0);
  // WebGPU would round them up to its buffers. bf16 files: f32 is twice as much, f16 a little more for what is small.
  expect(isReadable).toBe(false);
  expect(transformer.f32.bytes).toBe(2 * stored);
  expect(transformer.f16.bytes).toBeGreaterThan(stored);
  expect(transformer.f16.bytes).toBeLessThan(transformer.f32.bytes);
  expect(transformer.int8.bytes).toBeLessThan(transformer.f16.bytes);
});
