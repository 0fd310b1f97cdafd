import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { f32Target, testDevices } from "../../test/devices.ts";
import { goldenFolder, toleranceOf } from "../../test/golden.ts";
import type { Target } from "../onnx/target.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { readF32, readSafetensors } from "../weights/safetensors.ts";
import { parseVaeConfig } from "./config.ts";
import type { VaeDecoder } from "./decode.ts";
import { openVaeDecoder } from "./decode.ts";

/** Written by reference/golden_vae.py with diffusers. */
async function openGolden(name: string, target: Target): Promise<VaeDecoder> {
  const file = join(goldenFolder, name, "config.json");
  const config = parseVaeConfig(JSON.parse(await readFile(file, "utf8")), file);
  const { tensors } = await readSafetensors(
    join(goldenFolder, name, "diffusion_pytorch_model.safetensors"),
  );
  return openVaeDecoder(config, (weight) => tensors.get(weight)!, target);
}

/** Latents as golden_vae.py makes them. */
function latents(height: number, width: number): Tensor {
  const size = 4 * height * width;
  return {
    data: Float32Array.from({ length: size }, (_, i) => ((i * 7919) % 1009) / 1009),
    shape: [1, 4, height, width],
  };
}

/** Every so many values, as many as the golden file has. */
function sampled({ data }: Tensor, { shape }: Tensor, stride: number): Tensor {
  return { data: data.filter((_, i) => i % stride === 0), shape };
}

async function goldenPictures(name: string, file: string): Promise<Map<string, Tensor>> {
  const { tensors } = await readSafetensors(join(goldenFolder, name, file));
  const pictures = new Map<string, Tensor>();
  for (const [key, span] of tensors) pictures.set(key, await readF32(span));
  return pictures;
}

describe.each(testDevices)("the VAE on %s", (device) => {
  test("norms over millions of pixels keep the digits of the reference", async () => {
    const side = 1024;
    const decoder = await openGolden("vae-large", await f32Target(device));
    const picture = await decoder.decode(latents(side, side));
    await decoder.release();
    expect(picture.shape).toEqual([3, side, side]);

    const golden = (await goldenPictures("vae-large", "picture.safetensors")).get("image")!;
    expect(sampled(picture, golden, 4099)).toBeAllclose(
      golden,
      toleranceOf("vae-large/picture.safetensors", "image"),
    );
  });

  // Nothing of a picture of 8x8 passes 200 kB; of one of 128x128 much does.
  test.each([null, 2 ** 20, 200_000])(
    "sizes of every kind, no buffer above %s bytes",
    async (maxBufferBytes) => {
      const target = { ...(await f32Target(device)), maxBufferBytes };
      const decoder = await openGolden("vae-shapes", target);
      for (const [name, golden] of await goldenPictures("vae-shapes", "pictures.safetensors")) {
        const [height, width] = name.split("x").map(Number) as [number, number];
        if (maxBufferBytes === 200_000 && width > 64) continue;
        const picture = await decoder.decode(latents(height, width));
        expect(picture.shape, name).toEqual([3, 8 * height, 8 * width]);
        const stride = Math.ceil(picture.data.length / golden.data.length);
        expect(sampled(picture, golden, stride), name).toBeAllclose(
          golden,
          toleranceOf("vae-shapes/pictures.safetensors", name),
        );
      }
      await decoder.release();
    },
  );
});
