import { expect, test } from "vitest";
import type { Device } from "../config/model-options.ts";
import type { Dtype } from "../tensor/dtype.ts";
import { dtypeBytes } from "../tensor/dtype.ts";
import { GraphBuilder } from "./graph.ts";
import { linear } from "./linear.ts";
import { cpuTarget } from "./target.ts";

function build(device: Device, dtype: Dtype, f16 = true): void {
  const byteLength = 4 * dtypeBytes[dtype];
  const span = { dtype, shape: [2, 2], file: "/weights", offset: 0, byteLength };
  const graph = new GraphBuilder("layer", () => span, { ...cpuTarget, device, f16 });
  const x = graph.input("x", "f32", ["rows", 2]);
  graph.output("y", "f32", ["rows", 2], linear({ graph }, x, "layers.0", { bias: false }));
  graph.finish();
}

test.each(["webgpu", "dml"] as const)("a graph for %s has no weight in bf16 or fp8", (device) => {
  for (const dtype of ["BF16", "F8_E4M3", "F8_E5M2"] as const)
    expect(() => build(device, dtype), dtype).toThrow(
      new RegExp(
        `weight layers\\.0\\.weight is .+, which ${device} does not compute with: .+--storage`,
      ),
    );
  for (const dtype of ["F32", "F16"] as const) build(device, dtype);
});

test("a device without f16 gets no weight in it", () => {
  expect(() => build("webgpu", "F16", false)).toThrow(
    /weight layers\.0\.weight is f16, which webgpu does not compute with: hold the weights as f32/,
  );
  build("webgpu", "F32", false);
});

test.each(["cpu", "cuda"] as const)("%s takes weights of every type", (device) => {
  for (const dtype of ["F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"] as const) build(device, dtype);
});
