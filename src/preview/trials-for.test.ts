import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readJobFolder } from "./job-folder.ts";
import { planRetakes } from "./plan.ts";
import { trialsFor } from "./trials-for.ts";

const root = mkdtempSync(join(tmpdir(), "retake-trials-"));
afterAll(() => rmSync(root, { recursive: true }));

test("of thousands of samples only those near a picture are tried in its place", async () => {
  const samples = Array.from(
    { length: 1000 },
    (_, i) => `          - { prompt: 'picture ${i}', seed: ${i + 50_000}, neg: 'no ${i}' }`,
  );
  const config = `config:
  name: many
  process:
    - type: diffusion_trainer
      network: { type: lora }
      train: { dtype: float32 }
      model: { name_or_path: Tongyi-MAI/Z-Image, arch: zimage }
      sample:
        width: 128
        height: 128
        samples:
${samples.join("\n")}
`;
  writeFileSync(join(root, "config.yaml"), config);
  mkdirSync(join(root, "samples"));
  writeFileSync(join(root, "samples", "1795599759490__000000000_500.jpg"), "");
  const job = await readJobFolder(root);
  const [sample] = planRetakes(job).samples;
  const { preview, model, rounding, request } = sample!;
  const one = {
    sample: sample!,
    preview: preview!,
    shot: { model, rounding, request: request! },
    judgement: {
      verdict: "different" as const,
      ...{ psnr: 10, ssim: 0, maxDifference: 255, reason: null },
    },
    width: 128,
    height: 128,
  };
  const trials = trialsFor({ job, options: {} }, one, false);
  const named = (factor: string) => [
    ...new Set(trials.filter((trial) => trial.factor === factor).map(({ value }) => value)),
  ];
  expect(named("prompt")).toContain("sample 499");
  expect(named("prompt")).not.toContain("sample 900");
  for (const factor of ["prompt", "sample", "seed", "negative_prompt"])
    expect(named(factor).length).toBeLessThan(100);
});
