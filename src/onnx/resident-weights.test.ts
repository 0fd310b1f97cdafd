import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { DeviceMemory } from "./device-memory.ts";
import { GraphBuilder } from "./graph.ts";
import { ResidentWeights } from "./resident-weights.ts";
import { openSession } from "./session.ts";
import type { Target } from "./target.ts";
import { cpuTarget } from "./target.ts";

/** A CPU holds such weights too: as tensors in memory. */
const target: Target = { ...cpuTarget, weights: "resident" };

test("a session still answers after another's weights could not be put beside its own", async () => {
  const folder = await mkdtemp(join(tmpdir(), "retake-resident-"));
  const memory = new DeviceMemory(target);
  const weights = new ResidentWeights(memory);
  const open = (name: string) => {
    const file = join(folder, name);
    const span = { dtype: "F32", shape: [2], file, offset: 0, byteLength: 8 } as const;
    const graph = new GraphBuilder(name, () => span, target);
    const sum = graph.op("Add", [graph.input("x", "f32", [2]), graph.weight(name).value]);
    graph.output("y", "f32", [2], sum);
    return openSession(graph.finish(), target, weights);
  };
  try {
    await writeFile(join(folder, "there"), new Uint8Array(Float32Array.of(1, 2).buffer));
    const session = await open("there");
    const answer = async () => {
      const { y } = await session.run({ x: { data: Float32Array.of(10, 20), shape: [2] } });
      return [...y!.data];
    };
    expect(await answer()).toEqual([11, 22]);
    await expect(open("gone")).rejects.toThrow(/gone can't be opened/);
    expect(await answer()).toEqual([11, 22]);
    await session.release();
  } finally {
    weights.release();
    await memory.release();
    await rm(folder, { recursive: true });
  }
});
