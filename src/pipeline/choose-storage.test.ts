import { expect, test } from "vitest";
import type { Storage } from "../config/model-options.ts";
import { chooseStorage } from "./choose-storage.ts";
import type { StorageNeed } from "./storage-need.ts";
import type { StorageDevice } from "./weight-forms.ts";

/** About the full model in bf16. Its networks take turns: the transformer's step needs most. */
const bf16: StorageNeed = {
  transformer: {
    original: { bytes: 12.3e9, largest: 79e6 },
    f16: { bytes: 12.4e9, largest: 79e6 },
    f32: { bytes: 24.6e9, largest: 157e6 },
    int8: { bytes: 7.1e9, largest: 44e6 },
  },
  inBlocks: null,
  isReadable: false,
  vae: 0.2e9,
  textEncoder: null,
  lora: 0.4e9,
  step: 1.8e9,
  decode: 4.3e9,
  keepOpen: false,
};
const f32File: StorageNeed = {
  ...bf16,
  isReadable: true,
  transformer: { ...bf16.transformer, original: bf16.transformer.f32 },
};
const gguf: StorageNeed = {
  ...bf16,
  isReadable: true,
  inBlocks: "q4.gguf is quantised already (gguf Q4_K)",
  transformer: { ...bf16.transformer, original: { bytes: 4.6e9, largest: 25e6 } },
};
const webgpu: StorageDevice = {
  device: "webgpu",
  memoryBytes: 25.8e9,
  hasF16: true,
  maxBufferBytes: 2 ** 31,
};
const cuda: StorageDevice = { ...webgpu, device: "cuda", maxBufferBytes: null };
const cpu: StorageDevice = { ...cuda, device: "cpu", memoryBytes: null };

/** The same to a device that has bf16. */
const readable: StorageNeed = { ...bf16, isReadable: true };

const storageOn = (device: StorageDevice, need = bf16, asked: Storage = "auto") =>
  chooseStorage(asked, need, device).storage;
/** Half a GB of each device is others'. */
const withBytes = (memoryBytes: number, device = webgpu) => ({ ...device, memoryBytes });

test("auto on the CPU: as stored, whatever that is and however little memory there is", () => {
  for (const need of [readable, f32File, gguf]) expect(storageOn(cpu, need)).toBe("original");
  expect(chooseStorage("auto", readable, cpu).textOnDevice).toBe(false);
});

test("auto on WebGPU: f16 from the byte on that it fits with, 8 bits below", () => {
  expect(storageOn(withBytes(15.1e9))).toBe("f16");
  expect(storageOn(withBytes(15.1e9 - 1))).toBe("int8");
  expect(storageOn(withBytes(9.8e9))).toBe("int8");
  expect(() => storageOn(withBytes(9.8e9 - 1))).toThrow(
    /doesn't fit on webgpu: 1024x1024 needs f16 14\.6 GB, int8 9\.3 GB, and it has 9\.8 GB.*GGUF.*--device cpu/,
  );
  expect(chooseStorage("auto", bf16, withBytes(12.9e9))).toMatchObject({
    storage: "int8",
    needBytes: 9.3e9,
    memoryBytes: 12.9e9,
    reason: "it needs 9.3 GB of 12.9 GB, f16 14.6 GB",
  });
});

test("networks that stay there add up", () => {
  const together = { ...bf16, keepOpen: true };
  // 12.4 of weights, 0.4 of a LoRA, 0.2 of the VAE and its 4.3 to work with.
  expect(storageOn(withBytes(17.8e9), together)).toBe("f16");
  expect(storageOn(withBytes(17.8e9 - 1), together)).toBe("int8");
});

test("auto where a device can read the file: as stored, if that fits", () => {
  expect(storageOn(withBytes(48e9), f32File)).toBe("original");
  expect(storageOn(webgpu, f32File)).toBe("f16");
  expect(storageOn(withBytes(7.3e9), gguf)).toBe("original");
  expect(() => storageOn(withBytes(7.2e9), gguf)).toThrow(/needs original 6\.8 GB/);
});

test("a device without f16 takes f32 or 8 bits, one that takes small tensors only what is small", () => {
  expect(storageOn({ ...webgpu, hasF16: false })).toBe("int8");
  expect(storageOn({ ...withBytes(32e9), hasF16: false })).toBe("f32");
  expect(storageOn({ ...webgpu, maxBufferBytes: 128e6 })).toBe("f16");
  expect(storageOn({ ...webgpu, maxBufferBytes: 64e6 })).toBe("int8");
  expect(() => storageOn({ ...webgpu, maxBufferBytes: 32e6 })).toThrow(
    /int8: its largest matrix has 44000000 bytes, and the device takes 32000000/,
  );
});

test("a device that doesn't say how much it has gets what needs least, and says so", () => {
  const unknown = { ...webgpu, memoryBytes: null };
  expect(chooseStorage("auto", bf16, unknown)).toMatchObject({
    storage: "int8",
    reason: expect.stringContaining("doesn't say how much memory it has"),
    textOnDevice: false,
  });
  expect(storageOn({ ...unknown, hasF16: false }, gguf)).toBe("original");
  expect(chooseStorage("auto", readable, { ...cuda, memoryBytes: null })).toMatchObject({
    storage: "original",
  });
});

test("auto on CUDA: as stored, or 8 bits where that doesn't fit", () => {
  expect(storageOn(withBytes(15e9, cuda), readable)).toBe("original");
  expect(storageOn(withBytes(15e9 - 1, cuda), readable)).toBe("int8");
});

test("what was asked for is taken or refused, with numbers and with what there is instead", () => {
  for (const asked of ["original", "f32", "f16", "int8"] as const) {
    expect(storageOn(cpu, readable, asked)).toBe(asked);
    expect(storageOn(withBytes(48e9, cuda), readable, asked)).toBe(asked);
  }
  expect(chooseStorage("f16", bf16, withBytes(14e9)).reason).toBe(
    "it was asked for; smaller pictures fit, 1024x1024 needs 14.6 GB of 14.0 GB",
  );
  const refusals: [Storage, StorageNeed, StorageDevice, RegExp][] = [
    ["f16", bf16, withBytes(12.8e9), /12\.4 GB of 12\.8 GB.*--storage auto or int8 /],
    [
      "f32",
      bf16,
      withBytes(25e9),
      /24\.6 GB of 25\.0 GB, of which 500\.0 MB.*auto or f16 or int8 /,
    ],
    ["original", bf16, webgpu, /can't read the dtype.*auto or f16 or f32 or int8 /],
    ["f16", bf16, { ...webgpu, hasF16: false }, /webgpu: it has no f16.*auto or f32 or int8 /],
    ["f32", bf16, { ...webgpu, maxBufferBytes: 128e6 }, /157000000 bytes.*auto or f16 or int8 /],
    ["int8", bf16, withBytes(4e9), /7\.1 GB of 4\.0 GB.*GGUF file of fewer bits.*--device cpu/],
    ["f16", gguf, cpu, /q4\.gguf is quantised already.*Leave --storage/],
    ["int8", gguf, webgpu, /q4\.gguf is quantised already.*Leave --storage/],
  ];
  for (const [asked, need, device, reason] of refusals) {
    expect(() => storageOn(device, need, asked), asked).toThrow(reason);
  }
});

test("the text encoder goes to the device where its weights can be read there and fit beside", () => {
  const need = { ...readable, textEncoder: 8e9 };
  const isThere = (device: StorageDevice, keepOpen: boolean) =>
    chooseStorage("auto", { ...need, keepOpen }, device).textOnDevice;
  expect(isThere(withBytes(16e9, cuda), false)).toBe(true);
  expect(isThere(withBytes(25.8e9, cuda), true)).toBe(true);
  expect(isThere(withBytes(25.6e9, cuda), true)).toBe(false);
  expect(isThere({ ...cuda, memoryBytes: null }, true)).toBe(true);
  expect(chooseStorage("auto", readable, cuda).textOnDevice).toBe(false);
});
