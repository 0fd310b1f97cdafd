import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { modelById } from "../src/models/registry.ts";
import { countFedBytes } from "../src/onnx/fed-bytes.ts";
import type { Target } from "../src/onnx/target.ts";
import type { Components } from "../src/pipeline/components.ts";
import type { ActiveLora } from "../src/pipeline/compose-adapters.ts";
import { composeAdapters } from "../src/pipeline/compose-adapters.ts";
import { bytesOf, openLora } from "../src/pipeline/loaded-lora.ts";
import { randn } from "../src/sampler/noise.ts";
import { Transformer } from "../src/transformer/transformer.ts";
import { testRuns } from "./devices.ts";
import { goldenFolder } from "./golden.ts";
import { f32Target, openHeld } from "./held.ts";

const files = join(goldenFolder, "loras", "files");
const steps = 3;

/** A transformer, and what it is asked. */
async function opened(run: (typeof testRuns)[number]) {
  const components = await openHeld(
    join(goldenFolder, "tiny", "store"),
    modelById("zimage_turbo"),
    run,
  );
  const { config, weights } = components.transformer;
  const spans = [...weights.values()].flatMap((span) => [span, span.blocks?.scales ?? []].flat());
  return {
    components,
    target: await f32Target(run.device),
    weightBytes: spans.reduce((sum, { byteLength }) => sum + byteLength, 0),
    embeds: [randn(1n, [17, config.captionDim]), randn(2n, [40, config.captionDim])],
    latents: randn(3n, [1, config.inChannels, 8, 12]),
  };
}

// Where weights lie in memory anyway there is nothing to count: a CPU's.
const resident = testRuns.filter(({ device }) => device === "webgpu");

test.skipIf(resident.length > 0)("needs RETAKE_TEST_DEVICES=webgpu", () => {});

describe.each(resident)("on $device, $storage weights", (run) => {
  let fed: () => number;
  let components: Components;
  let target: Target;
  let asked: Awaited<ReturnType<typeof opened>>;
  let transformer: Transformer;
  beforeAll(async () => {
    fed = countFedBytes();
    asked = await opened(run);
    ({ components, target } = asked);
    transformer = new Transformer(
      components.transformer.config,
      components.transformer.lookup,
      target,
    );
  });
  afterAll(() => transformer.release());

  const active = async (name: string, multiplier = 0.7): Promise<ActiveLora> => ({
    lora: await openLora(components, join(files, `${name}.safetensors`)),
    multiplier,
  });

  /** What a request gives, and the bytes that cross until its first step has ended, and in each other. */
  async function request(loras: readonly ActiveLora[], captions: 1 | 2 = 1, on = transformer) {
    fed();
    const predict = await on.prepare({
      promptEmbeds: asked.embeds.slice(0, captions),
      timesteps: Float32Array.of(900, 500, 100).subarray(0, steps),
      latentShape: asked.latents.shape,
      adapter: composeAdapters(loras),
    });
    const predictions: Float32Array[] = [];
    const crossed: number[] = [fed()];
    for (let step = 0; step < steps; step++) {
      predictions.push(...(await predict(asked.latents, step)).map(({ data }) => data));
      crossed.push(fed());
    }
    const [prepared, first, ...later] = crossed;
    return { predictions, first: prepared! + first!, later };
  }

  /** Patches, the scales of one step's norms, and a few lengths. */
  const ofAStep = () => {
    const { config } = components.transformer;
    const norms = 4 * (config.layers + config.refinerLayers) + 1;
    return 4 * (asked.latents.data.length + norms * config.dim) + 64;
  };

  test("weights cross once, whatever comes after", async () => {
    const { first, later } = await request([]);
    expect(first).toBeGreaterThan(asked.weightBytes * 0.95);
    expect(first).toBeLessThan(asked.weightBytes * 1.2);
    for (const bytes of later) expect(bytes).toBeLessThan(ofAStep());
    // One caption more, another structure, and the first again: none brings a weight.
    for (const again of [
      await request([], 2),
      await request([await active("dora")], 2),
      await request([]),
    ]) {
      expect(again.first).toBeLessThan(asked.weightBytes * 0.2);
      for (const bytes of again.later) expect(bytes).toBeLessThan(ofAStep());
    }
  });

  test("a LoRA crosses once, another multiplier alone brings its factors", async () => {
    const without = await request([]);
    const lora = await active("ai-toolkit", 1);
    const matrices = bytesOf(lora.lora);
    const brought = await request([lora]);
    expect(brought.first - without.first).toBeGreaterThan(matrices * 0.9);
    for (const bytes of brought.later) expect(bytes).toBeLessThan(ofAStep());
    const weaker = await request([{ ...lora, multiplier: 0.5 }]);
    expect(weaker.first - without.first).toBeLessThan(matrices * 0.2);
    expect(weaker.predictions).not.toEqual(brought.predictions);
    // It left with a request that had none, and comes again.
    await request([]);
    const again = await request([lora]);
    expect(again.first).toBe(brought.first);
    expect(again.predictions).toEqual(brought.predictions);
  });

  test("gives what sessions that own their weights give", async () => {
    const mapped: Target = { ...target, weights: "mapped" };
    const owning = new Transformer(
      components.transformer.config,
      components.transformer.lookup,
      mapped,
    );
    const loras = [await active("lokr"), await active("ai-toolkit")];
    const { predictions } = await request(loras, 2, owning);
    await owning.release();
    expect((await request(loras, 2)).predictions).toEqual(predictions);
  });
});
