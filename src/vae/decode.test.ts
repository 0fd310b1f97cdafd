import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { f32Target, testDevices } from "../../test/devices.ts";
import { goldenFolder, toleranceOf } from "../../test/golden.ts";
import { readF32, readSafetensors } from "../weights/safetensors.ts";
import { parseVaeConfig } from "./config.ts";
import { openVaeDecoder } from "./decode.ts";

/** Written by reference/golden_vae.py with diffusers. */
const folder = join(goldenFolder, "vae-large");

test.each(testDevices)(
  "norms over millions of pixels keep the digits of the reference on %s",
  async (device) => {
    const side = 1024;
    const stride = 4099;
    const file = join(folder, "config.json");
    const config = parseVaeConfig(JSON.parse(await readFile(file, "utf8")), file);
    const weights = await readSafetensors(join(folder, "diffusion_pytorch_model.safetensors"));
    const decoder = await openVaeDecoder(
      config,
      (name) => weights.tensors.get(name)!,
      await f32Target(device),
    );
    const { data, shape } = await decoder.decode({
      data: Float32Array.from({ length: 4 * side * side }, (_, i) => ((i * 7919) % 1009) / 1009),
      shape: [1, 4, side, side],
    });
    await decoder.release();
    expect(shape).toEqual([3, side, side]);

    const { tensors } = await readSafetensors(join(folder, "picture.safetensors"));
    const picture = await readF32(tensors.get("image")!);
    const sampled = data.filter((_, i) => i % stride === 0);
    expect({ data: sampled, shape: picture.shape }).toBeAllclose(
      picture,
      toleranceOf("vae-large/picture.safetensors", "image"),
    );
  },
);
