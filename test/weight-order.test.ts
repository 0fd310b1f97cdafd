import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Model, WeightSpan } from "../src/onnx/graph.ts";
import { GraphBuilder } from "../src/onnx/graph.ts";
import { linear } from "../src/onnx/linear.ts";
import { sessionOptions } from "../src/onnx/session.ts";
import { cpuTarget } from "../src/onnx/target.ts";
import type { Dtype } from "../src/tensor/dtype.ts";
import { dtypeBytes } from "../src/tensor/dtype.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-order-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const dim = 16;

/** The kinds of operators in the order in which the runtime ran them. */
async function profiled({ bytes, ...model }: Model): Promise<string[]> {
  const session = await InferenceSession.create(bytes, {
    ...sessionOptions(model),
    executionProviders: ["cpu"],
    enableProfiling: true,
    profileFilePrefix: join(folder, "profile"),
  });
  await session.run({ x: new Tensor("float32", new Float32Array(2 * dim), [2, dim]) });
  session.endProfiling();
  await session.release();
  const file = join(folder, readdirSync(folder).find((name) => name.startsWith("profile"))!);
  const events: { name: string; args?: { op_name?: string } }[] = JSON.parse(
    readFileSync(file, "utf8"),
  );
  rmSync(file);
  return events
    .filter(({ name }) => name.endsWith("_kernel_time"))
    .map(({ args }) => args?.op_name ?? "");
}

test.each<Dtype>(["BF16", "F16", "F8_E4M3"])(
  "%s weights are widened one at a time, each right before its product",
  async (dtype) => {
    const file = join(folder, dtype);
    const byteLength = dim * dim * dtypeBytes[dtype];
    writeFileSync(file, new Uint8Array(byteLength));
    const span: WeightSpan = { dtype, shape: [dim, dim], file, offset: 0, byteLength };
    const graph = new GraphBuilder("layers", () => span, cpuTarget);
    let x = graph.input("x", "f32", ["rows", dim]);
    for (let i = 0; i < 5; i++) {
      const y = linear({ graph }, x, `layers.${i}`, { bias: false });
      x = graph.op("Add", [x, graph.op("Mul", [y, graph.op("Sigmoid", [y])])]);
    }
    graph.output("y", "f32", ["rows", dim], x);
    const ran = await profiled(graph.finish());
    expect(ran.filter((type) => type === "Cast" || type === "Gemm")).toEqual(
      Array.from({ length: 5 }, () => ["Cast", "Gemm"]).flat(),
    );
  },
);
