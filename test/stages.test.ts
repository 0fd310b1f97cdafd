import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { modelById } from "../src/models/registry.ts";
import { GraphBuilder } from "../src/onnx/graph.ts";
import { openSession } from "../src/onnx/session.ts";
import type { Target } from "../src/onnx/target.ts";
import type { Components } from "../src/pipeline/components.ts";
import { openComponents } from "../src/pipeline/components.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { openTextEncoder } from "../src/text-encoder/encode.ts";
import type { AdapterModule, AdapterModules } from "../src/transformer/adapter.ts";
import { transformerBlock } from "../src/transformer/block.ts";
import { uncut } from "../src/transformer/cuts.ts";
import { buildModulationGraph, timeVectors } from "../src/transformer/modulation-graph.ts";
import { patchify, unpatchify } from "../src/transformer/patches.ts";
import {
  captionPositions,
  concatRopes,
  imagePositions,
  ropeTable,
} from "../src/transformer/rope.ts";
import { Transformer } from "../src/transformer/transformer.ts";
import { openVaeDecoder } from "../src/vae/decode.ts";
import { readF32, readSafetensors } from "../src/weights/safetensors.ts";
import { goldensFor, testRuns } from "./devices.ts";
import { goldenFolder, toleranceOf } from "./golden.ts";
import { f32Target, openHeld, targetsFor } from "./held.ts";
import type { Tolerance } from "./matchers.ts";

/** What the reference's stages took and gave. */
class Stages {
  readonly #file: string;
  readonly #tensors = new Map<string, Tensor>();

  private constructor(file: string) {
    this.#file = file;
  }

  static async read(file: string): Promise<Stages> {
    const stages = new Stages(file);
    const { tensors } = await readSafetensors(join(goldenFolder, file));
    for (const [name, span] of tensors)
      if (span.dtype === "F32") stages.#tensors.set(name, await readF32(span));
    return stages;
  }

  get(name: string): Tensor {
    return this.#tensors.get(name)!;
  }

  /** The part of a golden: the other shape, the same values. */
  as(name: string, shape: readonly number[]): Tensor {
    return { data: this.get(name).data, shape };
  }

  /** 1000·sigma of transformer.t, which is (1000 - T)/1000. */
  timestep(): Float32Array {
    return Float32Array.of(1000 - 1000 * this.get("transformer.t").data[0]!);
  }

  near(name: string): Tolerance {
    return toleranceOf(this.#file, name);
  }
}

const turbo = modelById("zimage_turbo");
let components: Components;
let golden: Stages;
beforeAll(async () => {
  components = await openComponents(join(goldenFolder, "tiny/store"), turbo);
  golden = await Stages.read("tiny/stages.safetensors");
});

test("time vector", () => {
  const { timeScale } = components.transformer.config;
  const name = "time_vector";
  expect(timeVectors(golden.timestep(), timeScale)).toBeAllclose(
    golden.get(name),
    golden.near(name),
  );
});

test("rope tables of caption and image, pads included", () => {
  const { config } = components.transformer;
  const caption = ropeTable(config, captionPositions(32));
  const image = ropeTable(config, imagePositions(32, 6, 4, 8));
  for (const [part, tables] of Object.entries({ caption, image })) {
    for (const of of ["cos", "sin"] as const) {
      const name = `rope.${part}.${of}`;
      expect(tables[of], name).toBeAllclose(golden.get(name), golden.near(name));
    }
  }
});

test("patches in the reference's order, and back", () => {
  const latents = golden.as("transformer.latents", [1, 16, 12, 8]);
  const patches = patchify(latents);
  const embedderIn = golden.get("x_embedder.in");
  expect(patches).toEqual({ data: embedderIn.data.subarray(0, 24 * 64), shape: [24, 64] });
  expect(unpatchify(patches, latents.shape)).toEqual(latents);
});

describe.each(testRuns)("on $device, $storage weights", (kind) => {
  const goldens = goldensFor(kind.storage);
  let f32: Target;
  /** Of a session that owns its weights. */
  let mapped: Target;
  let components: Components;
  let golden: Stages;
  beforeAll(async () => {
    f32 = await f32Target(kind.device);
    mapped = { ...f32, weights: "mapped" };
    components = await openHeld(join(goldenFolder, goldens, "store"), turbo, kind);
    golden = await Stages.read(`${goldens}/stages.safetensors`);
  });

  test("one modulated block", async () => {
    const { config, lookup } = components.transformer;
    const modulation = await openSession(
      buildModulationGraph(config, lookup, mapped, new Map()),
      mapped,
    );
    const { scales } = await modulation.run({
      time: timeVectors(golden.timestep(), config.timeScale),
    });
    await modulation.release();

    const graph = new GraphBuilder("block", lookup, mapped);
    const rows = ["a", "b", "c", "d"].map((name) => graph.input(name, "f32", [config.dim]));
    const [attentionNorm1, attentionNorm2, ffnNorm1, ffnNorm2] = rows;
    const x = graph.input("x", "f32", ["tokens", config.dim]);
    const table = (name: string) => graph.input(name, "f32", ["tokens", config.headDim / 2]);
    const out = transformerBlock(
      { graph, adapted: new Map(), cuts: uncut },
      config,
      "layers.0",
      x,
      {
        attentionNorm1: attentionNorm1!,
        attentionNorm2: attentionNorm2!,
        ffnNorm1: ffnNorm1!,
        ffnNorm2: ffnNorm2!,
      },
      { tokens: "tokens", sequences: 1, cos: table("cos"), sin: table("sin") },
    );
    graph.output("out", "f32", ["tokens", config.dim], out);
    const block = await openSession(graph.finish(), mapped);
    // Row 0 of the table belongs to the one noise refiner.
    const row = (i: number): Tensor => ({
      data: scales!.data.subarray((4 + i) * config.dim, (5 + i) * config.dim),
      shape: [config.dim],
    });
    const rope = concatRopes([
      ropeTable(config, imagePositions(32, 6, 4, 8)),
      ropeTable(config, captionPositions(32)),
    ]);
    const shape = golden.get("layers.0.in").shape.slice(1);
    const results = await block.run({
      x: golden.as("layers.0.in", shape),
      a: row(0),
      b: row(1),
      c: row(2),
      d: row(3),
      cos: rope.cos,
      sin: rope.sin,
    });
    await block.release();
    const reference = golden.as("layers.0.out", shape);
    expect(results.out).toBeAllclose(reference, golden.near("layers.0.out"));
  });

  test("one forward of the transformer", async () => {
    const { config, lookup } = components.transformer;
    const transformer = new Transformer(config, lookup, f32);
    const latents = golden.as("transformer.latents", [1, 16, 12, 8]);
    const predict = await transformer.prepare({
      promptEmbeds: [golden.get("transformer.cap_feats")],
      timesteps: golden.timestep(),
      latentShape: latents.shape,
      adapter: new Map(),
    });
    const [prediction] = await predict(latents, 0);
    await transformer.release();
    const reference = golden.as("transformer.out", latents.shape);
    expect(prediction).toBeAllclose(reference, golden.near("transformer.out"));
  });

  test("text encoder", async () => {
    const { config, lookup } = components.textEncoder;
    const { textTarget } = await targetsFor(kind.device, components);
    const encoder = await openTextEncoder(config, lookup, textTarget);
    const trace = `${goldens}/traces/head-plain-g0.safetensors`;
    const { tensors } = await readSafetensors(join(goldenFolder, trace));
    expect(tensors.get("input_ids")?.dtype).toBe("I64");
    const ids = components.tokenizer.encode(
      "<|im_start|>user\na red fox sits under a cherry blossom tree<|im_end|>\n<|im_start|>assistant\n",
    );
    const reference = await readF32(tensors.get("prompt_embeds")!);
    expect(await encoder.encode(ids)).toBeAllclose(reference, toleranceOf(trace, "prompt_embeds"));
    await encoder.release();
  });

  test("VAE decoder", async () => {
    const { config, lookup } = components.vae;
    const decoder = await openVaeDecoder(config, lookup, f32);
    const image = await decoder.decode(golden.get("vae.latents"));
    expect(image).toBeAllclose(golden.get("vae.image"), golden.near("vae.image"));
    await decoder.release();
  });

  describe("adapters", () => {
    const latents = () => golden.as("transformer.latents", [1, 16, 12, 8]);
    const conditions = (adapter: Parameters<Transformer["prepare"]>[0]["adapter"]) => ({
      promptEmbeds: [golden.get("transformer.cap_feats")],
      timesteps: golden.timestep(),
      latentShape: latents().shape,
      adapter,
    });
    const module = (scale: number): AdapterModule => ({
      lora: {
        loraA: { data: new Float32Array(2 * 48).fill(0.1), shape: [2, 48] },
        loraB: { data: new Float32Array(48 * 2).fill(0.2), shape: [48, 2] },
        scale: { data: Float32Array.of(scale, scale), shape: [2] },
      },
      lokr: [],
      loha: [],
      full: [],
      norm: null,
      bias: null,
      rowScale: null,
    });
    const run = async (transformer: Transformer, adapter: AdapterModules) => {
      const predict = await transformer.prepare(conditions(adapter));
      return (await predict(latents(), 0))[0]!;
    };

    test("another LoRA, none, or multiplier 0 leave no trace of the one before", async () => {
      const { config, lookup } = components.transformer;
      const used = new Transformer(config, lookup, f32);
      const fresh = new Transformer(config, lookup, f32);
      const plain = await run(fresh, new Map());
      const first = await run(used, new Map([["layers.0.attention.to_q", module(1)]]));
      expect(first.data).not.toEqual(plain.data);
      expect((await run(used, new Map())).data).toEqual(plain.data);
      expect((await run(used, new Map([["layers.0.attention.to_q", module(0)]]))).data).toEqual(
        plain.data,
      );
      const other = new Map([["layers.1.attention.to_out.0", module(-1)]]);
      expect((await run(used, other)).data).toEqual((await run(fresh, other)).data);
      await used.release();
      await fresh.release();
    });
  });
});
