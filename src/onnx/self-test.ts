import { messageOf } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Model } from "./graph.ts";
import { GraphBuilder, noWeights } from "./graph.ts";
import type { KnownAnswer } from "./known-answer.ts";
import { knownAnswers } from "./known-answers.ts";
import { attentionAnswers, precise } from "./known-layers.ts";
import { halves } from "./known-values.ts";
import { toCompute, toF32 } from "./layers.ts";
import { openSession } from "./session.ts";
import type { Target } from "./target.ts";

/** What a device answered to questions whose answers are known. */
export interface SelfTest {
  /** Operators that are wrong, and how; none: the device can be used. */
  readonly wrong: readonly string[];
  /** Whether the fused attention is right. */
  readonly fusedAttention: boolean;
  /** Whether f16 weights can be widened on the device. */
  readonly f16: boolean;
}

/**
 * Tokens, heads and features of a head: full and broken tiles, one head and many. The first is the
 * smallest that the runtime's flash attention gets wrong on some devices.
 */
const attentionSizes = [
  [32, 1, 64],
  [1, 1, 32],
  [33, 3, 32],
  [64, 2, 128],
  [77, 5, 96],
  [128, 30, 128],
  [100, 1, 256],
  [600, 2, 128],
] as const;

/** So many in a run: each run waits for the device, and a slow one should be heard of in between. */
const askedAtOnce = 8;

/** Asks a device all of them. @param onAnswer told whenever it has answered some */
export async function selfTest(target: Target, onAnswer = () => {}): Promise<SelfTest> {
  const asked = target.compute === "f32" ? [...knownAnswers, precise] : knownAnswers;
  const [fault] = await faultsOf([halves], target);
  onAnswer();
  let fusedAttention = true;
  for (const size of attentionSizes) {
    if (!fusedAttention) break;
    fusedAttention = (await faultsOf(attentionAnswers(size), target)).length === 0;
    onAnswer();
  }
  const wrong: string[] = [];
  for (let i = 0; i < asked.length; i += askedAtOnce) {
    wrong.push(...(await faultsOf(asked.slice(i, i + askedAtOnce), target)));
    onAnswer();
  }
  return { wrong, fusedAttention, f16: fault === undefined };
}

/** Largest error as a share of the largest answer. */
const tolerances = { f32: 1e-5, f16: 2 ** -9, bf16: 2 ** -7 } as const;

/** Which answers are wrong, and how, as in "MatMul gives 3 for 4". */
export async function faultsOf(asked: readonly KnownAnswer[], target: Target): Promise<string[]> {
  try {
    const answers = await answersOf(asked, target);
    return asked.flatMap(({ operator, expected }, i) => {
      const fault = difference(answers[i]!, expected, tolerances[target.compute]);
      return fault === null ? [] : [`${operator} ${fault}`];
    });
  } catch (error) {
    const [only, ...others] = asked;
    if (only !== undefined && others.length === 0)
      return [`${only.operator} fails: ${messageOf(error)}`];
    // One of them ended the run for all: each by itself.
    const faults: string[] = [];
    for (const known of asked) faults.push(...(await faultsOf([known], target)));
    return faults;
  }
}

async function answersOf(asked: readonly KnownAnswer[], target: Target): Promise<Tensor[]> {
  const session = await openSession(questionGraph(asked, target), target);
  try {
    const feeds = asked.flatMap(({ inputs }, i) =>
      inputs.map((x, j) => [`x${i}.${j}`, x] as const),
    );
    const results = await session.run(Object.fromEntries(feeds));
    return asked.map((_, i) => results[`y${i}`]!);
  } finally {
    await session.release();
  }
}

/** All of them side by side. */
export function questionGraph(asked: readonly KnownAnswer[], target: Target): Model {
  const graph = new GraphBuilder("self-test", noWeights, target);
  for (const [i, { inputs, build, expected }] of asked.entries()) {
    const values = inputs.map(({ shape }, j) =>
      toCompute({ graph }, graph.input(`x${i}.${j}`, "f32", shape)),
    );
    graph.output(`y${i}`, "f32", expected.shape, toF32({ graph }, build({ graph }, ...values)));
  }
  return graph.finish();
}

function difference(answer: Tensor, expected: Tensor, tolerance: number): string | null {
  const scale = expected.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const bad = expected.data.findIndex(
    // A comparison with NaN is false: NaN is wrong.
    (value, i) => !(Math.abs(answer.data[i]! - value) <= tolerance * scale),
  );
  return bad === -1 ? null : `gives ${answer.data[bad]} for ${expected.data[bad]}`;
}
