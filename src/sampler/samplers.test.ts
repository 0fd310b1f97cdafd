import { expect, test } from "vitest";
import { readGolden, toleranceOf } from "../../test/golden.ts";
import { denoise } from "./denoise.ts";
import type { SamplerName } from "./samplers.ts";

interface Golden {
  samplers: { sampler: SamplerName; sigmas: number[]; noise: number[]; latents: number[] }[];
}

/** ComfyUI's samplers on a network that stands in as v = sin(3x) + sigma, written by reference/goldens.py. */
const { samplers } = readGolden<Golden>("tools.json");
const { atol } = toleranceOf("tools.json", "latents");

test.each(samplers)("$sampler over $sigmas", async ({ sampler, sigmas, noise, latents }) => {
  const levels = Float32Array.from(sigmas);
  const out = await denoise({
    latents: { data: Float32Array.from(noise), shape: [noise.length] },
    schedule: { sigmas: levels, timesteps: levels.slice(0, -1).map((sigma) => sigma * 1000) },
    predict: async ({ data, shape }, i) => ({
      data: data.map((x) => Math.sin(3 * x) + levels[i]!),
      shape,
    }),
    sampler,
    onStep: () => {},
  });
  expect(out.data).toHaveLength(latents.length);
  for (const [i, value] of latents.entries())
    expect(Math.abs(out.data[i]! - value)).toBeLessThanOrEqual(atol);
});
