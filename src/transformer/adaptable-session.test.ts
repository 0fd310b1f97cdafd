import { expect, test } from "vitest";
import { DeviceCopies } from "../onnx/device-copies.ts";
import { GraphBuilder, noWeights } from "../onnx/graph.ts";
import { cpuTarget } from "../onnx/target.ts";
import { AdaptableSession } from "./adaptable-session.ts";

test.each([
  { packs: false, opened: 2 },
  // Each has a copy of the matrices, some 6 GB of the real model.
  { packs: true, opened: 3 },
])("of graphs that copy their weights one stays open: $packs", async ({ packs, opened }) => {
  let built = 0;
  const session = new AdaptableSession(
    () => {
      built++;
      const graph = new GraphBuilder("step", noWeights, cpuTarget);
      if (packs) graph.pack();
      const x = graph.input("x", "f32", [1]);
      graph.output("y", "f32", [1], graph.op("Add", [x, x]));
      return graph.finish();
    },
    () => true,
    { target: cpuTarget, weights: undefined, copies: new DeviceCopies(null) },
  );
  for (const captions of [1, 2, 1] as const) {
    const { y } = await session.run({ x: { data: Float32Array.of(2), shape: [1] } }, new Map(), {
      captions,
    });
    expect([...y!.data]).toEqual([4]);
  }
  expect(built).toBe(opened);
  await session.release();
});
