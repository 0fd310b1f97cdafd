import type { WeightLookup } from "../onnx/graph.ts";
import { KeptTensor, openKeepingSession } from "../onnx/session.ts";
import type { Target } from "../onnx/target.ts";
import {
  buildAttended,
  buildFusedAttend,
  buildPlainAttend,
  buildQueries,
} from "./attention-graph.ts";
import type { Band, Bands } from "./bands.ts";
import { normOver, statisticsIn } from "./bands.ts";
import type { VaeConfig } from "./config.ts";

/** The attention of the decoder's middle: one head over all places of the latents. */
export interface MidAttention {
  /** x goes. */
  run(x: Bands): Promise<Bands>;
  release(): Promise<void>;
}

/** Queries, keys and values of a band. */
type Asked = Record<"q" | "k" | "v", KeptTensor>;

/** One band's queries over all keys, as the last graph takes it. */
interface Attend {
  run(q: KeptTensor): Promise<Record<string, KeptTensor>>;
  dispose(): void;
}

export async function openMidAttention(
  config: VaeConfig,
  lookup: WeightLookup,
  target: Target,
): Promise<MidAttention> {
  await using opened = new AsyncDisposableStack();
  const own = <Part extends { release(): Promise<void> }>(part: Part): Part =>
    opened.adopt(part, () => part.release());
  const asking = buildQueries(config, lookup, target);
  const queries = own(await openKeepingSession(asking, target, ["q", "k", "v"]));
  const attend = own(await (target.attention === "fused" ? openFused : openPlain)(config, target));
  const answering = buildAttended(config, lookup, target);
  const attended = own(await openKeepingSession(answering, target, ["y"]));
  // Only a failure before this closes them.
  const sessions = opened.move();
  return {
    async run(x) {
      const moments = normOver(x, config.groups);
      const asked: Asked[] = [];
      for (const { tensor } of x) asked.push((await queries.run({ x: tensor, ...moments })).kept);
      const keys = attend.over(asked);
      const y: Band[] = [];
      for (const [i, { tensor }] of x.entries()) {
        const { q } = asked[i]!;
        const mixed = await keys.run(q);
        q.dispose();
        const { kept, results } = await attended.run({ x: tensor, ...mixed });
        for (const used of [tensor, ...Object.values(mixed)]) used.dispose();
        y.push({ tensor: kept.y, statistics: statisticsIn(results) });
      }
      keys.dispose();
      return y;
    },
    release: () => sessions.disposeAsync(),
  };
}

interface AttendSession {
  over(asked: readonly Asked[]): Attend;
  release(): Promise<void>;
}

/** The runtime's own operator, where it is right. Its results are in our memory. */
async function openFused(config: VaeConfig, target: Target): Promise<AttendSession> {
  const session = await openKeepingSession(buildFusedAttend(config, target), target, ["mixed"]);
  return {
    over(asked) {
      const k = joinPlaces(asked.map((band) => band.k));
      const v = joinPlaces(asked.map((band) => band.v));
      return {
        run: async (q) => (await session.run({ q, k, v })).kept,
        dispose() {
          k.dispose();
          v.dispose();
        },
      };
    },
    release: () => session.release(),
  };
}

/** [1, places, channels] in one; the parts go. */
function joinPlaces(parts: readonly KeptTensor[]): KeptTensor {
  const channels = parts[0]!.shape[2]!;
  const places = parts.reduce((sum, { shape }) => sum + shape[1]!, 0);
  const data = new Float32Array(places * channels);
  let end = 0;
  for (const part of parts) {
    const values = part.read().data;
    data.set(values, end);
    end += values.length;
    part.dispose();
  }
  return KeptTensor.of({ data, shape: [1, places, channels] });
}

/** Below every score, and finite: shaders may not count on infinity. */
const lowest = -1e30;

/**
 * Bands of queries meet bands of keys, a pair at a time: scores of all places at once are 1 GB at
 * 1024x1024.
 */
async function openPlain(config: VaeConfig, target: Target): Promise<AttendSession> {
  const session = await openKeepingSession(buildPlainAttend(config, target), target, [
    "largest_out",
    "sum_out",
    "mixed_out",
  ]);
  return {
    over: (asked) => ({
      async run(q) {
        const [, places, channels] = q.shape as [number, number, number];
        const filled = (width: number, value: number): KeptTensor =>
          KeptTensor.of({
            data: new Float32Array(places * width).fill(value),
            shape: [1, places, width],
          });
        let state = {
          largest: filled(1, lowest),
          sum: filled(1, 0),
          mixed: filled(channels, 0),
        };
        for (const { k, v } of asked) {
          const { kept } = await session.run({ q, k, v, ...state });
          for (const tensor of Object.values(state)) tensor.dispose();
          state = { largest: kept.largest_out, sum: kept.sum_out, mixed: kept.mixed_out };
        }
        state.largest.dispose();
        return { sum: state.sum, mixed: state.mixed };
      },
      dispose() {
        for (const { k, v } of asked) {
          k.dispose();
          v.dispose();
        }
      },
    }),
    release: () => session.release(),
  };
}
