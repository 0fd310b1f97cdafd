import { afterAll, describe, test } from "vitest";
import {
  expectGolden,
  fileOf,
  files,
  multipliers,
  pipeline,
  run,
  several,
} from "./golden-loras.ts";

afterAll(() => pipeline.release());

test("without a LoRA", async () => {
  await expectGolden("none", await run([]));
});

describe.each(Object.keys(files))("%s", (name) => {
  test.each(multipliers)("at %d", async (multiplier) => {
    await expectGolden(`${name}@${multiplier}`, await run([{ path: fileOf(name), multiplier }]));
  });
});

test.each(Object.entries(several))("several at once: %s", async (name, parts) => {
  const loras = parts.map(([file, multiplier]) => ({ path: fileOf(file), multiplier }));
  await expectGolden(`several:${name}`, await run(loras));
});
