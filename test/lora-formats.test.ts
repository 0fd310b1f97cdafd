import { afterAll, describe, test } from "vitest";
import { testDevices } from "./devices.ts";
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

describe.each(testDevices)("on %s", (device) => {
  test("without a LoRA", async () => {
    await expectGolden("none", await run([], device));
  });

  describe.each(Object.keys(files))("%s", (name) => {
    test.each(multipliers)("at %d", async (multiplier) => {
      const loras = [{ path: fileOf(name), multiplier }];
      await expectGolden(`${name}@${multiplier}`, await run(loras, device));
    });
  });

  test.each(Object.entries(several))("several at once: %s", async (name, parts) => {
    const loras = parts.map(([file, multiplier]) => ({ path: fileOf(file), multiplier }));
    await expectGolden(`several:${name}`, await run(loras, device));
  });
});
