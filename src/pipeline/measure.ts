import { readFileSync } from "node:fs";
import type { GenerateInput } from "../job/request.ts";
import { profiles } from "../models/profiles.ts";
import { countFedBytes } from "../onnx/fed-bytes.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { OpenPipeline } from "./open.ts";

/** What the numbers of a measured request mean. */
export const measuredProfile = profiles.diffusers;

/** How long one picture took, in seconds. */
export interface Measured {
  /** Networks opened, weights read and sent to the device, and the first step. */
  readonly firstStepSeconds: number;
  /** Median of the other steps. */
  readonly stepSeconds: number;
  readonly decodeSeconds: number;
  readonly requestSeconds: number;
  /** Bytes that sessions were fed from memory until the first step had ended, and in each other at most. */
  readonly fed: { readonly first: number; readonly step: number };
}

/** What is drawn to measure: a square, without guidance unless it is asked for. */
export interface MeasuredRequest {
  readonly size: number;
  /** At least two: the first is measured by itself. */
  readonly steps: number;
  readonly guidance: number;
  readonly signal?: AbortSignal;
  /** Told after each step. */
  readonly onStep?: (step: number) => void;
}

/** @throws InputError and CanceledError as a picture does */
export async function measurePicture(
  pipeline: OpenPipeline,
  { size, steps, guidance, signal, onStep }: MeasuredRequest,
): Promise<Measured> {
  const startedAt = performance.now();
  let preparingAt = startedAt;
  let decodingAt = startedAt;
  const stepEnds: number[] = [];
  const sinceLast = countFedBytes();
  const fed: number[] = [];
  await pipeline.generate(requestOf(size, steps, guidance), {
    ...(signal === undefined ? {} : { signal }),
    onStage: (stage) => {
      if (stage === "preparing") preparingAt = performance.now();
      if (stage === "decoding") decodingAt = performance.now();
    },
    onStep: ({ step }) => {
      stepEnds.push(performance.now());
      fed.push(sinceLast());
      onStep?.(step);
    },
  });
  const endedAt = performance.now();
  const others = stepEnds.slice(1).map((end, i) => (end - stepEnds[i]!) / 1000);
  return {
    firstStepSeconds: (stepEnds[0]! - preparingAt) / 1000,
    stepSeconds: others.toSorted((a, b) => a - b)[Math.floor(others.length / 2)]!,
    decodeSeconds: (endedAt - decodingAt) / 1000,
    requestSeconds: (endedAt - startedAt) / 1000,
    fed: { first: fed[0]!, step: Math.max(...fed.slice(1)) },
  };
}

function requestOf(size: number, steps: number, guidance: number): GenerateInput {
  return {
    prompt: "a red fox sits under a cherry blossom tree",
    width: size,
    height: size,
    steps,
    guidanceScale: guidance,
    seed: 42n,
    profile: measuredProfile.name,
  };
}

/** How far one pipeline's numbers are from another's. */
export interface Difference {
  /** Of the first prediction, as a share of its largest value. */
  readonly prediction: number;
  /** Of the picture, whose values go from 0 to 1. */
  readonly picture: number;
}

/** Draws one small picture with both. */
export async function differenceOf(
  pipeline: OpenPipeline,
  reference: OpenPipeline,
  { size, steps, guidance, signal }: MeasuredRequest,
): Promise<Difference> {
  const draw = async (drawing: OpenPipeline) => {
    let prediction: Tensor | undefined;
    const { image } = await drawing.generate(requestOf(size, steps, guidance), {
      ...(signal === undefined ? {} : { signal }),
      onStep: ({ step, noisePred }) => {
        if (step === 1) prediction = noisePred;
      },
    });
    return { prediction: prediction!, image };
  };
  const expected = await draw(reference);
  const found = await draw(pipeline);
  const scale = expected.prediction.data.reduce(
    (most, value) => Math.max(most, Math.abs(value)),
    0,
  );
  return {
    prediction: largestDifference(found.prediction, expected.prediction) / scale,
    picture: largestDifference(found.image, expected.image),
  };
}

function largestDifference(found: Tensor, expected: Tensor): number {
  return found.data.reduce(
    (most, value, i) => Math.max(most, Math.abs(value - expected.data[i]!)),
    0,
  );
}

/** This process's memory that the system can't take back: without mapped files. Null where it does not tell. */
export function ownBytes(): number | null {
  if (process.platform !== "linux") return null;
  const [, kilobytes] = /RssAnon:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return kilobytes === undefined ? null : Number(kilobytes) * 1024;
}
