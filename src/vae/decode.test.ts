import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { testDevices } from "../../test/devices.ts";
import { goldenFolder, toleranceOf } from "../../test/golden.ts";
import { InputError } from "../errors.ts";
import { cpuTarget, targetFor } from "../onnx/target.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { readF32, readSafetensors } from "../weights/safetensors.ts";
import { parseVaeConfig } from "./config.ts";
import type { DecoderTarget, VaeDecoder } from "./decode.ts";
import { decoderTarget, openDecoderOn } from "./decode.ts";

/** What the runtime's profile says of each operator. */
const profileSchema = z.array(
  z.object({ name: z.string(), args: z.object({ output_size: z.string() }).partial().optional() }),
);

/** Written by reference/golden_vae.py with diffusers. */
async function openGolden(
  name: string,
  target: DecoderTarget,
  onLookup: (weight: string) => void = () => {},
): Promise<VaeDecoder> {
  const file = join(goldenFolder, name, "config.json");
  const config = parseVaeConfig(JSON.parse(await readFile(file, "utf8")), file);
  const { tensors } = await readSafetensors(
    join(goldenFolder, name, "diffusion_pytorch_model.safetensors"),
  );
  const lookup = (weight: string) => {
    onLookup(weight);
    return tensors.get(weight)!;
  };
  return openDecoderOn(config, lookup, target);
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

/** Decodes latents of all the golden file's sizes up to so many columns. */
async function holdToGolden(decoder: VaeDecoder, widest: number): Promise<void> {
  for (const [name, golden] of await goldenPictures("vae-shapes", "pictures.safetensors")) {
    const [height, width] = name.split("x").map(Number) as [number, number];
    if (width > widest) continue;
    const picture = await decoder.decode(latents(height, width));
    expect(picture.shape, name).toEqual([3, 8 * height, 8 * width]);
    const stride = Math.ceil(picture.data.length / golden.data.length);
    expect(sampled(picture, golden, stride), name).toBeAllclose(
      golden,
      toleranceOf("vae-shapes/pictures.safetensors", name),
    );
  }
  await decoder.release();
}

describe.each(testDevices)("the VAE on %s", (device) => {
  test("norms over millions of pixels keep the digits of the reference", async () => {
    const side = 1024;
    const decoder = await openGolden("vae-large", decoderTarget(await targetFor(device)));
    const picture = await decoder.decode(latents(side, side));
    await decoder.release();
    expect(picture.shape).toEqual([3, side, side]);

    const golden = (await goldenPictures("vae-large", "picture.safetensors")).get("image")!;
    expect(sampled(picture, golden, 4099)).toBeAllclose(
      golden,
      toleranceOf("vae-large/picture.safetensors", "image"),
    );
  });

  // Of a picture of 8x8 no tensor passes 200 kB, of one of 128x128 many pass 2 MB.
  test.each([
    { maxBufferBytes: null, widest: 64 },
    { maxBufferBytes: 2_000_000, widest: 128 },
    { maxBufferBytes: 200_000, widest: 64 },
  ])("latents up to $widest wide, buffers up to $maxBufferBytes bytes", async (limits) => {
    const target = decoderTarget(await targetFor(device));
    const { maxBufferBytes, widest } = limits;
    await holdToGolden(await openGolden("vae-shapes", { ...target, maxBufferBytes }), widest);
  });
});

test.each([null, 200_000])(
  "as on CUDA, fused and from the attention on in one run, buffers up to %s bytes",
  async (maxBufferBytes) => {
    const cuda = decoderTarget({ ...cpuTarget, device: "cuda", maxBufferBytes });
    expect(cuda).toMatchObject({ attention: "fused", resultsStay: false });
    await holdToGolden(await openGolden("vae-shapes", { ...cuda, device: "cpu" }), 64);
  },
);

test("no tensor passes the limit of the device", async () => {
  const folder = await mkdtemp(join(tmpdir(), "retake-vae-"));
  try {
    const sessions: ort.InferenceSession[] = [];
    const create = ort.InferenceSession.create.bind(ort.InferenceSession);
    const profiled = vi
      .spyOn(ort.InferenceSession, "create")
      .mockImplementation(
        async (bytes: Uint8Array, options?: ort.InferenceSession.SessionOptions) => {
          const profile = { enableProfiling: true, profileFilePrefix: join(folder, "profile") };
          const session = await create(bytes, { ...options, ...profile });
          sessions.push(session);
          return session;
        },
      );
    const maxBufferBytes = 300_000;
    const target = { ...decoderTarget(cpuTarget), maxBufferBytes };
    const decoder = await openGolden("vae-shapes", target);
    for (const [height, width] of [
      [33, 9],
      [5, 64],
      [40, 40],
    ] as const) {
      await decoder.decode(latents(height, width));
    }
    for (const session of sessions) session.endProfiling();
    profiled.mockRestore();
    await decoder.release();

    const sizes: number[] = [];
    for (const name of await readdir(folder)) {
      const events = profileSchema.parse(JSON.parse(await readFile(join(folder, name), "utf8")));
      // A CPU's own layout fills channels up to 16; the real ones are that many already.
      for (const { args } of events.filter((event) => !event.name.includes("_nchwc")))
        sizes.push(Number(args?.output_size ?? 0));
    }
    expect(sizes.length).toBeGreaterThan(1000);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(maxBufferBytes);
    // What is allowed is used.
    expect(Math.max(...sizes)).toBeGreaterThan(maxBufferBytes / 2);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.each(["decoder.mid_block.attentions.0.to_out.0.weight", "decoder.conv_out.weight"])(
  "a picture that fails at %s leaves nothing open, and the next one is whole",
  async (missing) => {
    let open = 0;
    const create = ort.InferenceSession.create.bind(ort.InferenceSession);
    const counted = vi
      .spyOn(ort.InferenceSession, "create")
      .mockImplementation(
        async (bytes: Uint8Array, options?: ort.InferenceSession.SessionOptions) => {
          const session = await create(bytes, options);
          const release = session.release.bind(session);
          open++;
          session.release = async () => {
            open--;
            await release();
          };
          return session;
        },
      );
    try {
      let isMissing = true;
      const decoder = await openGolden("vae-shapes", decoderTarget(cpuTarget), (name) => {
        if (isMissing && name === missing) throw new InputError(`${name} is gone`);
      });
      await expect(decoder.decode(latents(8, 8))).rejects.toThrow(`${missing} is gone`);
      expect(open).toBe(0);
      isMissing = false;
      const whole = await openGolden("vae-shapes", decoderTarget(cpuTarget));
      expect(await decoder.decode(latents(8, 8))).toEqual(await whole.decode(latents(8, 8)));
      await whole.release();
      await decoder.release();
      expect(open).toBe(0);
    } finally {
      counted.mockRestore();
    }
  },
);

test("a picture is refused of which no row fits, with what to do", async () => {
  const target = { ...decoderTarget(cpuTarget), maxBufferBytes: 50_000 };
  const decoder = await openGolden("vae-shapes", target);
  await expect(decoder.decode(latents(8, 64))).rejects.toThrow(
    /512 pixels' width .*50000 bytes.*smaller width/,
  );
  await decoder.release();
});
