import { afterAll, describe, test } from "vitest";
import { testRuns } from "./devices.ts";
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

describe.each(testRuns)("on $device, $storage weights", (kind) => {
  test("without a LoRA", async () => {
    await expectGolden("none", await run([], kind));
  });

  describe.each(Object.keys(files))("%s", (name) => {
    test.each(multipliers)("at %d", async (multiplier) => {
      const loras = [{ path: fileOf(name), multiplier }];
      await expectGolden(`${name}@${multiplier}`, await run(loras, kind));
    });
  });

  test.each(Object.entries(several))("several at once: %s", async (name, parts) => {
    const loras = parts.map(([file, multiplier]) => ({ path: fileOf(file), multiplier }));
    await expectGolden(`several:${name}`, await run(loras, kind));
  });
});
