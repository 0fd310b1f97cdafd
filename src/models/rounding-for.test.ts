import { expect, test } from "vitest";
import type { TrainedAs } from "./rounding-for.ts";
import { roundingFor, usualRounding } from "./rounding-for.ts";

/** A job as ai-toolkit's page writes it. */
function job(changes: Partial<TrainedAs> = {}): TrainedAs {
  return {
    model: "zimage",
    trainerVersion: "0.9.14",
    trainDtype: "bf16",
    quantize: true,
    quantizeTe: true,
    qtype: "qfloat8",
    qtypeTe: "qfloat8",
    layerOffloading: false,
    assistantLoraPath: null,
    adapterFile: null,
    accuracyRecoveryAdapter: null,
    ...changes,
  };
}
const v2 = "ostris/zimage_turbo_training_adapter/zimage_turbo_training_adapter_v2.safetensors";
const quanto = {
  transformer: "quanto",
  textEncoder: "quanto",
  embedders: true,
  adapter: null,
  dtype: "bf16",
};

test("qfloat8 is quanto's, and torchao's beside an adapter, with offloaded layers or as float8", () => {
  expect(roundingFor(job())).toEqual(quanto);
  expect(roundingFor(job({ assistantLoraPath: v2 }))).toEqual({
    ...quanto,
    transformer: "torchao",
    adapter: v2,
  });
  const torchao = { ...quanto, transformer: "torchao", textEncoder: "torchao" };
  expect(roundingFor(job({ layerOffloading: true }))).toEqual(torchao);
  expect(roundingFor(job({ qtype: "float8", qtypeTe: "float8" }))).toEqual(torchao);
});

test("uint2 to uint7 are torchao's; uint8 rounds nothing", () => {
  const lower = job({ qtype: "uint7", qtypeTe: "uint4", assistantLoraPath: v2 });
  expect(roundingFor(lower)).toMatchObject({
    transformer: "uint7",
    textEncoder: "uint4",
    adapter: v2,
  });
  expect(roundingFor(job({ qtype: "uint8" }))).toMatchObject({
    transformer: null,
    embedders: false,
  });
});

test("embedders are rounded before 0.10.24, by torchao in it too", () => {
  const embedders = (trainerVersion: string | null, changes: Partial<TrainedAs> = {}) => {
    const rounding = roundingFor(job({ trainerVersion, ...changes }));
    return rounding !== null && "embedders" in rounding && rounding.embedders;
  };
  expect(["0.7.6", "0.9.14", "0.10.23"].map((version) => embedders(version))).toEqual([
    true,
    true,
    true,
  ]);
  expect(["0.10.24", "0.10.25", "0.12.26", null].map((version) => embedders(version))).toEqual([
    false,
    false,
    false,
    false,
  ]);
  expect(embedders("0.10.24", { assistantLoraPath: v2 })).toBe(true);
  expect(embedders("0.10.25", { assistantLoraPath: v2 })).toBe(false);
});

test("a part that was not quantised stays bf16, and float32 jobs were not rounded at all", () => {
  expect(roundingFor(job({ quantizeTe: false }))).toEqual({ ...quanto, textEncoder: null });
  const off = { quantize: false, quantizeTe: false, assistantLoraPath: v2 };
  expect(roundingFor(job(off))).toEqual({
    transformer: null,
    textEncoder: null,
    embedders: false,
    adapter: null,
    dtype: "bf16",
  });
  expect(roundingFor(job({ ...off, trainDtype: "float32" }))).toBeNull();
  expect(roundingFor(job({ ...off, trainDtype: "fp16" }))).toMatchObject({ dtype: "f16" });
  expect(roundingFor(job({ trainDtype: "fp32" }))).toEqual({ ...quanto, dtype: "f32" });
});

test.each([
  [{ qtype: "convrot4" }, "qtype convrot4"],
  [{ qtypeTe: "qint8" }, "qtype_te qint8"],
  [{ qtype: "uint3|ostris/accuracy_recovery_adapters/x.safetensors" }, "accuracy recovery adapter"],
  [{ accuracyRecoveryAdapter: "x.safetensors" }, "accuracy recovery adapter"],
  [{ trainDtype: "8bit" }, "8bit"],
])("%o is unknown, by name", (changes, reason) => {
  expect(roundingFor(job(changes))).toEqual({ unknown: expect.stringContaining(reason) });
});

test("a path of another machine stands for the adapter of that name, and for nothing else", () => {
  const adapterOf = (assistantLoraPath: string) =>
    roundingFor(job({ model: "zimage_turbo", assistantLoraPath }));
  expect(adapterOf("C:\\models\\zimage_turbo_training_adapter_v2.safetensors")).toMatchObject({
    adapter: v2,
  });
  expect(adapterOf("me/own/adapter.safetensors")).toMatchObject({
    adapter: "me/own/adapter.safetensors",
  });
  for (const path of [
    "/etc/own_v3.safetensors",
    "../../own_v3.safetensors",
    "a/../own_v3.safetensors",
  ])
    expect(adapterOf(path)).toEqual({ unknown: expect.stringContaining("own_v3.safetensors") });
  const given = {
    assistantLoraPath: "/etc/own_v3.safetensors",
    adapterFile: "/mine/a.safetensors",
  };
  expect(roundingFor(job(given))).toMatchObject({ adapter: "/mine/a.safetensors" });
  expect(roundingFor(job({ adapterFile: "/mine/a.safetensors" }))).toMatchObject({ adapter: null });
});

test("the page's usual job: Turbo with the adapter of its time", () => {
  expect(usualRounding("zimage_deturbo", "0.7.21")).toEqual(quanto);
  expect(usualRounding("zimage_turbo", "0.7.6").adapter).toMatch(/_v1\.safetensors$/);
  expect(usualRounding("zimage_turbo", null)).toEqual({
    transformer: "torchao",
    textEncoder: "quanto",
    embedders: false,
    adapter: v2,
    dtype: "bf16",
  });
});
