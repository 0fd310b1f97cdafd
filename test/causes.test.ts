import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { afterAll, expect, test } from "vitest";
import { decodeImage } from "../src/image/decode-image.ts";
import { findCauses } from "../src/preview/causes.ts";
import type { Findings } from "../src/preview/findings.ts";
import { readJobFolder } from "../src/preview/job-folder.ts";
import { judge } from "../src/preview/judge.ts";
import type { PlanOptions } from "../src/preview/plan.ts";
import { planRetakes } from "../src/preview/plan.ts";
import { openRenderer } from "../src/preview/renderer.ts";
import type { Shot } from "../src/preview/shot.ts";
import type { Case } from "../src/preview/trials-for.ts";
import { copyJob, editConfig, setVersion, swapTensors } from "./planted-job.ts";

const renderer = openRenderer({
  weights: "demo",
  device: "cpu",
  storage: "auto",
  cacheFolder: mkdtempSync(join(tmpdir(), "causes-cache-")),
  transformers: {},
});
afterAll(() => renderer[Symbol.asyncDispose]());

const draw = async ({ model, rounding, request }: Shot) =>
  (await renderer.render(model, rounding, request)).image;

/** Takes the pictures of a folder again, and looks for what explains those that differ. */
async function search(
  root: string,
  seconds = 300,
  options: PlanOptions = {},
): Promise<Findings & { trials: string[] }> {
  const job = await readJobFolder(root);
  const cases: (Case & { bytes: Uint8Array })[] = [];
  for (const sample of planRetakes(job, options).samples) {
    const { preview, request, model, rounding, expected } = sample;
    if (preview === null || request === null) continue;
    const bytes = readFileSync(preview.path);
    const { width, height } = await decodeImage(bytes, preview.file);
    const shot = { model, rounding, request };
    const judgement = await judge({ file: preview.file, bytes }, await draw(shot), expected);
    cases.push({ sample, preview, shot, judgement, width, height, bytes });
  }
  const trials: string[] = [];
  const findings = await findCauses({ job, options }, cases, {
    draw,
    judge: ({ preview }, image, expected) => {
      const { bytes } = cases.find((one) => one.preview.file === preview.file)!;
      return judge({ file: preview.file, bytes }, image, expected);
    },
    deadline: performance.now() + seconds * 1000,
    onTrial: (file, { factor, value }) => trials.push(`${file} ${factor} ${value}`),
  });
  return { ...findings, trials };
}

test("an era that a person asked for: the LoRA's own is named, not one that draws the same", async () => {
  const root = fileURLToPath(new URL("../demo/job", import.meta.url));
  const { found } = await search(root, 300, { era: "0.10.25" });
  const firsts = [...found.values()].map(({ causes }) => causes[0]);
  expect(firsts).toHaveLength(6);
  for (const cause of firsts) {
    expect(cause).toMatchObject({ factor: "era", value: "preview-0.7.6", flag: "--era 0.7.6" });
    expect(cause?.sentence).toContain("not as era 0.10.25, which was asked for, does");
  }
});

const planted: readonly (readonly [string, string, (root: string) => void, string, string])[] = [
  [
    "the LoRA's version",
    "e5a-deturbo",
    (root) => setVersion(root, "0.7.25"),
    "era",
    "preview-0.10.25",
  ],
  [
    "guidance",
    "mix",
    (root) => editConfig(root, "guidance_scale: 3", "guidance_scale: 6.5"),
    "guidance",
    "3",
  ],
  [
    "guidance, in a job of a version that drew in several ways",
    "e5a-deturbo",
    (root) => editConfig(root, "guidance_scale: 3", "guidance_scale: 5"),
    "guidance",
    "3",
  ],
  ["the seed", "mix", (root) => editConfig(root, "seed: 42", "seed: 41"), "seed", "42"],
  [
    "the base model",
    "e5b-odd",
    (root) => editConfig(root, "Tongyi-MAI/Z-Image-Turbo", "ostris/Z-Image-De-Turbo"),
    "model",
    "zimage_turbo",
  ],
  [
    "what the job computed in",
    "e2-q8ad",
    (root) => editConfig(root, /(?<=train:.*dtype: )bf16/s, "float32"),
    "dtype",
    "bf16",
  ],
  [
    "prompts that were not cached",
    "mix",
    (root) => editConfig(root, /^( *)train:$/m, "$&\n$1  cache_text_embeddings: true"),
    "trigger",
    "not cached",
  ],
  [
    "a trigger word",
    "mix",
    (root) => editConfig(root, /^ *trigger_word: .*\n/m, ""),
    "trigger",
    "zorple",
  ],
];

test.each(planted)("%s: named first in %s", async (_, job, plant, factor, value) => {
  const root = copyJob(job);
  plant(root);
  const { common, found } = await search(root);
  expect(common).toMatchObject({ factor, value });
  expect(common!.explained).toBe(common!.different);
  for (const { causes } of found.values())
    expect(causes[0]).toMatchObject({ factor, explains: true });
});

test("a factor that explains one picture is tried first on the others", async () => {
  const root = copyJob("mix");
  swapTensors(root);
  const { common, trials } = await search(root);
  expect(common).toMatchObject({ factor: "lora", explained: 4, different: 4 });
  // One search to the LoRAs, then a LoRA or two for each picture.
  expect(trials.length).toBeLessThan(25);
});

test("a job that comes out right has no cause, and nothing is tried", async () => {
  const { common, found, trials } = await search(copyJob("e5b-odd"));
  expect(common).toBeNull();
  expect(found.size).toBe(0);
  expect(trials).toEqual([]);
});

test("a preview of a size that no request may have is left unexplained", async () => {
  const root = copyJob("mix");
  const samples = join(root, "samples");
  const name = readdirSync(samples).find((one) => one.includes("__000000008_0"))!;
  const tiny = { create: { width: 10, height: 10, channels: 3, background: "red" } } as const;
  writeFileSync(join(samples, name), await sharp(tiny).jpeg().toBuffer());
  const { common, found } = await search(root);
  expect(common).toBeNull();
  expect([...found.values()]).toMatchObject([{ causes: [], tried: 0 }]);
});

test("time that has run out is said, and nothing is named", async () => {
  const root = copyJob("mix");
  editConfig(root, "seed: 42", "seed: 987654321");
  const { common, found } = await search(root, 0);
  expect(common).toBeNull();
  const notes = [...found.values()].map(({ note }) => note);
  expect(notes).toContain("time ran out before everything was tried");
});
