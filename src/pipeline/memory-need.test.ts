import { expect, test } from "vitest";
import { modelById } from "../models/registry.ts";
import { openComponents } from "./components.ts";
import { type MemoryFit, memoryFit, memoryNeed } from "./memory-need.ts";

// Z-Image in bf16: 8.0 GB text encoder, 12.3 GB transformer, 0.2 GB VAE.
const need = { weightBytes: 20.5e9, largestBytes: 12.3e9, workingBytes: 2.7e9 };

test.each<[number, MemoryFit]>([
  [23.2e9, "fits"],
  [23.1e9, "one network at a time"],
  [15.0e9, "one network at a time"],
  [14.9e9, "slow"],
  [2.7e9, "slow"],
  [2.6e9, "too little"],
])("%d bytes of memory: %s", (available, fit) => expect(memoryFit(need, available)).toBe(fit));

test("8 bits are packed, so they are memory that stays taken, a little more than half as much", async () => {
  const components = await openComponents("demo", modelById("zimage_turbo"));
  const stored = memoryNeed(components, "auto");
  const packed = memoryNeed(components, "int8");
  const part =
    (packed.workingBytes - stored.workingBytes) / (stored.weightBytes - packed.weightBytes);
  expect(part).toBeGreaterThan(0.5);
  expect(part).toBeLessThan(0.6);
  expect(packed.largestBytes).toBeLessThan(stored.largestBytes / 2);
});
