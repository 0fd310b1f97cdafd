import { afterAll, describe, test } from "vitest";
import { few, testRuns } from "./devices.ts";
import {
  expectGolden,
  fileOf,
  files,
  multipliers,
  releasePipelines,
  run,
  several,
} from "./golden-loras.ts";

afterAll(releasePipelines);

// One of each kind of part: pairs, LoHa, LoKr, whole changes with norms and biases; and a sum with DoRAs.
const names = few(Object.keys(files), (name) => ["lycoris-loha", "lokr", "full"].includes(name));
const strengths = few(multipliers, (multiplier) => multiplier === 0.5);
const sums = few(Object.entries(several), ([name]) => name === "doras");

describe.each(testRuns)("on $device, $storage weights", (kind) => {
  test("without a LoRA", async () => {
    await expectGolden("none", await run([], kind));
  });

  describe.each(names)("%s", (name) => {
    test.each(strengths)("at %d", async (multiplier) => {
      const loras = [{ path: fileOf(name), multiplier }];
      await expectGolden(`${name}@${multiplier}`, await run(loras, kind));
    });
  });

  test.each(sums)("several at once: %s", async (name, parts) => {
    const loras = parts.map(([file, multiplier]) => ({ path: fileOf(file), multiplier }));
    await expectGolden(`several:${name}`, await run(loras, kind));
  });
});
