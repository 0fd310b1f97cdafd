import type { WeightLookup } from "../onnx/graph.ts";
import { KeptTensor, openKeepingSession, openSession } from "../onnx/session.ts";
import type { Target } from "../onnx/target.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { openMidAttention } from "./attention.ts";
import type { Bands } from "./bands.ts";
import { cutRows, joinRows, rowsPerBand, runLastStage, runStage, splitRows } from "./bands.ts";
import type { VaeConfig } from "./config.ts";
import { buildStage, buildWhole } from "./graph.ts";
import type { Stage } from "./stages.ts";
import { stagesAfterAttention, stagesBeforeAttention } from "./stages.ts";

export interface VaeDecoder {
  /**
   * Latents [1, channels, h, w] to a picture [3, H, W] in [0, 1], before rounding. After a failure
   * nothing of it is left in memory.
   */
  decode(latents: Tensor): Promise<Tensor>;
  release(): Promise<void>;
}

/** What the decoder's graphs are built for and how they are run. */
export interface DecoderTarget extends Target {
  /** Whether a graph's results stay where the next one takes them from. */
  readonly resultsStay: boolean;
  /** What the largest tensor of a band should have at most, in bytes; one row of latents it always has. */
  readonly bandBytes: number;
}

const mebi = 2 ** 20;

/** The largest tensor of a picture that is decoded in one run; three or four are there at once. */
const wholeBytes = 2048 * mebi;

/**
 * The decoder computes in f32 on every device: a picture takes a few percent of its time, and bf16
 * has no kernels for it on CUDA and too few digits for 8 bits of colour anywhere.
 */
export function decoderTarget(device: Target): DecoderTarget {
  const onCpu = device.device === "cpu";
  return {
    ...device,
    compute: "f32",
    // Each weight is in one session alone, so it may as well own it.
    weights: "mapped",
    // CUDA has no ReduceMax of these opsets. Elsewhere bands win: on a CPU 1.7 s against 4.1 s of the
    // fused operator at 1024x1024, and WebGPU's asks for 8 GB there for one head of 512.
    attention: device.device === "cuda" ? "fused" : "plain",
    resultsStay: onCpu || device.device === "webgpu",
    // A CPU is fastest with small ones (38 s against 47 s with 64 MiB and 66 s in one run, at 1024x1024).
    // A GPU wants much to do at once, and WebGPU promises buffers of 128 MiB.
    bandBytes: (onCpu ? 32 : 128) * mebi,
  };
}

/** Loads the decoder. Release it: it holds native memory. */
export async function openVaeDecoder(
  config: VaeConfig,
  lookup: WeightLookup,
  device: Target,
): Promise<VaeDecoder> {
  return openDecoderOn(config, lookup, decoderTarget(device));
}

export async function openDecoderOn(
  config: VaeConfig,
  lookup: WeightLookup,
  target: DecoderTarget,
): Promise<VaeDecoder> {
  const before = stagesBeforeAttention(config);
  const after = stagesAfterAttention(config);
  const limit = target.maxBufferBytes ?? Number.POSITIVE_INFINITY;
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

  const decodeInBands = async (latents: Tensor): Promise<Tensor> => {
    const [, , height, width] = latents.shape as [number, number, number, number];
    const rows = rowsPerBand([...before, ...after], width, target.bandBytes, limit);
    let x = await runStages(before, inBands(latents, cutRows(height, rows)));
    if (config.midAttention) {
      const attention = await once("attention", () => openMidAttention(config, lookup, target));
      x = await attention.run(x);
    }
    if (!target.resultsStay && largestBytes(after, height, width) <= Math.min(wholeBytes, limit)) {
      const whole = await once("whole", () =>
        openSession(buildWhole(config, lookup, target, after), target),
      );
      const { data, shape } = joinRows(x.map(({ tensor }) => tensor.read()));
      for (const { tensor } of x) tensor.dispose();
      const { y } = await whole.run({ x: { data, shape: [1, ...shape] } });
      return { data: y!.data, shape: y!.shape.slice(1) };
    }
    const last = after.at(-1)!;
    x = await runStages(after.slice(0, -1), x);
    const session = await once(last.conv, () =>
      openSession(buildStage(config, lookup, target, last), target),
    );
    return runLastStage(session, last, config.groups, x);
  };

  const release = async () => {
    const parts = [...open.values()];
    open.clear();
    for (const part of parts) await part.release();
  };

  return {
    async decode(latents) {
      try {
        return await decodeInBands(latents);
      } catch (error) {
        // Bands that no stage takes any more lie on the device, and go with the sessions that made
        // them. What went wrong first tells more than a failure to close.
        await release().catch(() => {});
        throw error;
      }
    },
    release,
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
