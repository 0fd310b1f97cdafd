import { join } from "node:path";
import { expect, test } from "vitest";
import { goldenFolder } from "../../test/golden.ts";
import { CanceledError } from "../errors.ts";
import { generateStages } from "./generate.ts";
import { openPipeline } from "./open.ts";

const weights = join(goldenFolder, "tiny", "store");
const model = "zimage_turbo";
const lora = join(goldenFolder, "tiny", "lora-mixed-ranks.safetensors");

const request = {
  prompt: "a red fox",
  width: 64,
  height: 64,
  steps: 4,
  loras: [{ path: lora, multiplier: 1 }],
};

test.each(generateStages)(
  "a cancel that comes as a message while it is %s ends it there",
  async (stage) => {
    await using pipeline = await openPipeline({ model, weights });
    const stop = new AbortController();
    const told: string[] = [];
    const generated = pipeline.generate(request, {
      signal: stop.signal,
      onStage(name) {
        told.push(name);
        // Not at once: a message is read when the event loop comes to it.
        if (name === stage) setImmediate(() => stop.abort());
      },
    });
    await expect(generated).rejects.toThrow(CanceledError);
    expect(told.filter((name) => name === stage)).toHaveLength(1);
    expect(told.at(-1)).toBe(stage);
    // Nothing half-done is kept: the next picture is as ever.
    const { image } = await pipeline.generate(request);
    expect(image.shape).toEqual([3, 64, 64]);
  },
);

test("a cancel ends the finding of a model's files", async () => {
  const opening = openPipeline({ model, weights, signal: AbortSignal.abort() });
  await expect(opening).rejects.toThrow(CanceledError);
});
