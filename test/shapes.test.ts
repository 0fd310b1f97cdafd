import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { modelById } from "../src/models/registry.ts";
import type { Target } from "../src/onnx/target.ts";
import type { Components } from "../src/pipeline/components.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { openTextEncoder } from "../src/text-encoder/encode.ts";
import { Transformer } from "../src/transformer/transformer.ts";
import { openVaeDecoder } from "../src/vae/decode.ts";
import { readF32, readSafetensors } from "../src/weights/safetensors.ts";
import { few, testRuns } from "./devices.ts";
import type { FormulaModel } from "./formula-store.ts";
import { codes, inputValues, writeFormulaStore } from "./formula-store.ts";
import { goldenFolder, readGolden, toleranceOf } from "./golden.ts";
import { f32Target, openHeld } from "./held.ts";

interface ShapeCase extends FormulaModel {
  readonly text_encoder: { readonly hidden_size: number };
  /** Latents' height and width, and the captions' lengths in tokens. */
  readonly forwards: readonly [number, number, readonly number[]][];
  /** Latents' height and width. */
  readonly pictures: readonly [number, number][];
  /** Prompts' lengths in tokens. */
  readonly texts: readonly number[];
}

// Heads of 32 to 256, 1 to 30 of them; pictures of 64 to 1024 px; prompts of 1 to 512 tokens, with guidance and without.
const cases = readGolden<Record<string, ShapeCase>>("shapes/cases.json");
const { tensors: results } = await readSafetensors(
  join(goldenFolder, "shapes", "results.safetensors"),
);

async function expectNear({ data }: Tensor, name: string): Promise<void> {
  const reference = await readF32(results.get(name)!);
  const stride = Math.floor(data.length / 500) | 1;
  const sampled = { data: data.filter((_, i) => i % stride === 0), shape: reference.shape };
  expect(sampled, name).toBeAllclose(reference, toleranceOf("shapes/results.safetensors", name));
}

describe.each(testRuns)("on $device, $storage weights", (run) => {
  let target: Target;
  beforeAll(async () => {
    target = await f32Target(run.device);
  });

  describe.each(few(Object.entries(cases), ([name]) => name === "7x32"))(
    "heads %s",
    (name, shapes) => {
      let store: string;
      let components: Components;
      beforeAll(async () => {
        store = mkdtempSync(join(tmpdir(), "retake-shapes-"));
        writeFormulaStore(store, shapes, run.storage === "original" ? "F32" : "BF16");
        components = await openHeld(store, modelById("zimage_turbo"), run);
      });
      afterAll(() => rmSync(store, { recursive: true }));

      test.each(shapes.forwards.map((forward, i) => [i, ...forward] as const))(
        "forward %d: latents of %d x %d, captions of %j",
        async (i, height, width, lengths) => {
          const { config, lookup } = components.transformer;
          const transformer = new Transformer(config, lookup, target);
          const latents = inputValues("latents", [1, 16, height, width]);
          const captionDim = shapes.text_encoder.hidden_size;
          const predict = await transformer.prepare({
            promptEmbeds: lengths.map((length, k) =>
              inputValues(`caption ${k}`, [length, captionDim]),
            ),
            timesteps: Float32Array.of(750),
            latentShape: latents.shape,
            adapter: new Map(),
          });
          const predictions = await predict(latents, 0);
          await transformer.release();
          expect(predictions.length).toBe(lengths.length);
          for (const [k, prediction] of predictions.entries()) {
            const ofBlocks = run.storage === "int8" ? ".int8" : "";
            await expectNear(prediction, `${name}.forward.${i}.${k}${ofBlocks}`);
          }
        },
      );

      test.each(shapes.pictures.map((picture, i) => [i, ...picture] as const))(
        "picture %d: latents of %d x %d",
        async (i, height, width) => {
          const { config, lookup } = components.vae;
          const decoder = await openVaeDecoder(config, lookup, target);
          const image = await decoder.decode(inputValues("latents", [1, 16, height, width]));
          await decoder.release();
          expect(image.shape).toEqual([3, 8 * height, 8 * width]);
          await expectNear(image, `${name}.picture.${i}`);
        },
      );

      test.each(shapes.texts)("a prompt of %d tokens", async (length) => {
        const { config, lookup } = components.textEncoder;
        const encoder = await openTextEncoder(config, lookup, target);
        const embeds = await encoder.encode(
          Array.from(codes("ids", length, 255), (id) => id + 255),
        );
        await encoder.release();
        await expectNear(embeds, `${name}.text.${length}`);
      });
    },
  );
});
