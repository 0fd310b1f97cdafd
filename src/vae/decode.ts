import type { WeightLookup } from "../onnx/graph.ts";
import { KeptTensor, openKeepingSession, openSession } from "../onnx/session.ts";
import type { Target } from "../onnx/target.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { openMidAttention } from "./attention.ts";
import type { Bands } from "./bands.ts";
import { cutRows, joinRows, mostRows, runLastStage, runStage, splitRows } from "./bands.ts";
import type { VaeConfig } from "./config.ts";
import { buildStage, buildWhole } from "./graph.ts";
import type { Stage } from "./stages.ts";
import { stagesAfterAttention, stagesBeforeAttention } from "./stages.ts";

export interface VaeDecoder {
  /** Latents [1, channels, h, w] to a picture [3, H, W] in [0, 1], before rounding. */
  decode(latents: Tensor): Promise<Tensor>;
  release(): Promise<void>;
}

/**
 * The largest tensor of a band, in bytes. WebGPU promises buffers of this size everywhere; larger
 * ones gain no speed.
 */
const bandBytes = 128 * 2 ** 20;

/** The largest tensor of a picture that is decoded in one run; three or four are there at once. */
const wholeBytes = 2 * 2 ** 30;

/**
 * What the decoder's graphs are built for. They compute in f32 on every device: a picture takes a few
 * percent of its time, and bf16 has no kernels for it on CUDA and too few digits for 8 bits of colour
 * anywhere.
 */
export function decoderTarget(device: Target): Target {
  return {
    ...device,
    compute: "f32",
    // Each weight is in one session alone, so it may as well own it.
    weights: "mapped",
    // For its one head of 512 WebGPU's fused operator asks for 8 GB at 1024x1024.
    attention: device.device === "webgpu" ? "plain" : device.attention,
  };
}

/** Loads the decoder. Release it: it holds native memory. */
export async function openVaeDecoder(
  config: VaeConfig,
  lookup: WeightLookup,
  device: Target,
): Promise<VaeDecoder> {
  const target = decoderTarget(device);
  const before = stagesBeforeAttention(config);
  const after = stagesAfterAttention(config);
  const limit = target.maxBufferBytes ?? Number.POSITIVE_INFINITY;
  const staysThere = target.device === "cpu" || target.device === "webgpu";
  const open = new Map<string, { release(): Promise<void> }>();
  const once = async <Part extends { release(): Promise<void> }>(
    name: string,
    opened: () => Promise<Part>,
  ) => {
    const part = (open.get(name) as Part | undefined) ?? (await opened());
    open.set(name, part);
    return part;
  };

  const runStages = async (stages: readonly Stage[], first: Bands): Promise<Bands> => {
    let x = first;
    let held: Bands | undefined;
    for (const stage of stages) {
      const session = await once(stage.conv, () =>
        openKeepingSession(buildStage(config, lookup, target, stage), target, keptOf(stage)),
      );
      const { y, shortcut } = await runStage(session, stage, config.groups, x, {
        residual: stage.joins ? held : undefined,
        keep: stage.branch === true,
      });
      if (stage.branch !== undefined) held = stage.branch === true ? x : shortcut;
      x = y;
    }
    return x;
  };

  return {
    async decode(latents) {
      const [, , height, width] = latents.shape as [number, number, number, number];
      const rows = mostRows([...before, ...after], width, Math.min(bandBytes, limit));
      let x = await runStages(before, inBands(latents, cutRows(height, rows)));
      if (config.midAttention) {
        const attention = await once("attention", () => openMidAttention(config, lookup, target));
        x = await attention.run(x);
      }
      if (!staysThere && largestBytes(after, height, width) <= Math.min(wholeBytes, limit)) {
        const whole = await once("whole", () =>
          openSession(buildWhole(config, lookup, target, after), target),
        );
        const { data, shape } = joinRows(x.map(({ tensor }) => tensor.read()));
        const { y } = await whole.run({ x: { data, shape: [1, ...shape] } });
        return { data: y!.data, shape: y!.shape.slice(1) };
      }
      const last = after.at(-1)!;
      x = await runStages(after.slice(0, -1), x);
      const session = await once(last.conv, () =>
        openSession(buildStage(config, lookup, target, last), target),
      );
      return runLastStage(session, last, config.groups, x);
    },
    async release() {
      for (const part of open.values()) await part.release();
      open.clear();
    },
  };
}

function keptOf({ branch }: Stage): ("y" | "shortcut")[] {
  return typeof branch === "string" ? ["y", "shortcut"] : ["y"];
}

function inBands(latents: Tensor, rows: readonly number[]): Bands {
  const none = new Float32Array();
  return splitRows(latents, rows).map((part) => ({
    tensor: KeptTensor.of(part),
    statistics: { mean: none, variance: none },
  }));
}

function largestBytes(stages: readonly Stage[], height: number, width: number): number {
  return Math.max(
    ...stages.map(
      ({ pixels, inChannels, outChannels }) =>
        4 * Math.max(inChannels, outChannels) * pixels ** 2 * height * width,
    ),
  );
}
