import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { WeightSpan } from "../src/onnx/graph.ts";
import { GraphBuilder } from "../src/onnx/graph.ts";
import { linear, wholeMatrix } from "../src/onnx/linear.ts";
import { openSession } from "../src/onnx/session.ts";
import type { Target } from "../src/onnx/target.ts";
import { cpuTarget } from "../src/onnx/target.ts";
import { randn } from "../src/sampler/noise.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { quantizeInt8 } from "../src/weights/quantize-int8.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-blocks-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const tokens = 40;
const outDim = 64;

/** A matrix of f32 in a file, and the same in 8 bits. */
async function matrices(inDim: number): Promise<{ plain: WeightSpan; rounded: WeightSpan }> {
  const file = join(folder, `${inDim}`);
  const { data } = randn(1n, [outDim, inDim]);
  writeFileSync(file, new Uint8Array(data.buffer));
  const shape = [outDim, inDim];
  const plain = { dtype: "F32", shape, file, offset: 0, byteLength: data.byteLength } as const;
  const rounded = await quantizeInt8(new Map([["w.weight", plain]]), [file], folder, {});
  return { plain, rounded: rounded.get("w.weight")! };
}

/** With every fiftieth channel twenty times as large, as in real networks. */
function activations(inDim: number): Tensor {
  const { data, shape } = randn(2n, [tokens, inDim]);
  return { data: data.map((value, i) => ((i % inDim) % 50 === 7 ? 20 * value : value)), shape };
}

async function run(
  span: WeightSpan,
  target: Target,
  x: Tensor,
  build: "linear" | "whole",
): Promise<Tensor> {
  const graph = new GraphBuilder("product", () => span, target);
  const input = graph.input("x", "f32", x.shape);
  const y =
    build === "linear"
      ? linear({ graph }, input, "w", { bias: false })
      : wholeMatrix({ graph }, "w.weight");
  graph.output("y", "f32", ["rows", "columns"], y);
  const session = await openSession(graph.finish(), target);
  try {
    return (await session.run({ x })).y!;
  } finally {
    await session.release();
  }
}

/** Root mean square of the difference, of the reference's own. */
function relativeError(found: Tensor, reference: Tensor): number {
  const squares = (values: Float32Array) => values.reduce((sum, value) => sum + value * value, 0);
  expect(found.data.length).toBe(reference.data.length);
  const difference = found.data.map((value, i) => value - reference.data[i]!);
  return Math.sqrt(squares(difference) / squares(reference.data));
}

// Not a multiple of 32: padded, not turned. 96: blocks of 32. 10240: in two parts.
describe.each([48, 96, 3840, 10240])("rows of %i in 8 bits", (inDim) => {
  const exact: Target = { ...cpuTarget, blocks: "compute" };

  test("hold the matrix to 8 bits", async () => {
    const { plain, rounded } = await matrices(inDim);
    const x = activations(inDim);
    const whole = await run(rounded, exact, x, "whole");
    const error = relativeError(whole, await run(plain, exact, x, "whole"));
    expect(error).toBeGreaterThan(1e-3);
    expect(error).toBeLessThan(7e-3);
  });

  test("multiply as the matrix that they hold", async () => {
    const { rounded } = await matrices(inDim);
    const x = activations(inDim);
    const whole = await run(rounded, exact, x, "whole");
    const file = join(folder, `${inDim}-whole`);
    writeFileSync(file, new Uint8Array(whole.data.buffer));
    const held: WeightSpan = { ...(await matrices(inDim)).plain, file };
    const reference = await run(held, exact, x, "linear");
    expect(relativeError(await run(rounded, exact, x, "linear"), reference)).toBeLessThan(1e-5);
    // Integers round the activations to 8 bits as well: about as much again, whatever stands out.
    const integers = relativeError(await run(rounded, cpuTarget, x, "linear"), reference);
    expect(integers).toBeGreaterThan(1e-4);
    expect(integers).toBeLessThan(inDim === 48 ? 1.5e-2 : 8e-3);
  });
});
