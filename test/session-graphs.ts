import type { Model } from "../src/onnx/graph.ts";
import type { Target } from "../src/onnx/target.ts";
import type { Components } from "../src/pipeline/components.ts";
import { buildTextEncoder } from "../src/text-encoder/graph.ts";
import type { AdapterShape } from "../src/transformer/adapter.ts";
import { buildCaptionGraph } from "../src/transformer/caption-graph.ts";
import type { Cuts } from "../src/transformer/cuts.ts";
import { buildModulationGraph } from "../src/transformer/modulation-graph.ts";
import { buildStepGraph } from "../src/transformer/step-graph.ts";
import { adaptableModules } from "../src/transformer/weight-shapes.ts";
import {
  buildAttended,
  buildFusedAttend,
  buildPlainAttend,
  buildQueries,
} from "../src/vae/attention-graph.ts";
import { decoderTarget } from "../src/vae/decode.ts";
import { buildStage, buildWhole } from "../src/vae/graph.ts";
import { stagesAfterAttention, stagesBeforeAttention } from "../src/vae/stages.ts";

const nothing: AdapterShape = {
  lora: false,
  lokr: [],
  loha: 0,
  full: 0,
  norm: false,
  bias: false,
  rowScale: false,
};
const kinds: Readonly<Record<string, AdapterShape>> = {
  lora: { ...nothing, lora: true },
  lokr: {
    ...nothing,
    lokr: [
      { factors: 1, cut: true, rowScale: true },
      { factors: 2, cut: false, rowScale: false },
    ],
  },
  loha: { ...nothing, loha: 1 },
  full: { ...nothing, full: 1 },
  bias: { ...nothing, bias: true },
  dora: { ...nothing, lora: true, rowScale: true },
};
const everything: AdapterShape = {
  ...Object.assign({}, ...Object.values(kinds)),
  lora: true,
  lokr: kinds.lokr!.lokr,
  loha: 1,
  full: 1,
};

/** Which adapters stand on every module: none, all kinds together, and each kind alone. */
export type Adapters = "none and all" | "each kind too";

/** What the transformer's sessions are made of. */
function transformerGraphs(
  { transformer: { config, lookup } }: Components,
  target: Target,
  cuts: Cuts,
  which: Adapters,
): Record<string, Model> {
  const onAll = (shape: AdapterShape) =>
    new Map(
      [...adaptableModules(config)].map(([name, { inDim }]) => [
        name,
        inDim === null ? { ...nothing, norm: true } : shape,
      ]),
    );
  const alone = which === "none and all" ? [] : Object.entries(kinds);
  const adapters = {
    "": new Map<string, AdapterShape>(),
    _adapted: onAll(everything),
    ...Object.fromEntries(alone.map(([name, shape]) => [`_${name}`, onAll(shape)] as const)),
  };
  return Object.fromEntries(
    Object.entries(adapters).flatMap(([name, adapted]) => [
      [`caption${name}`, buildCaptionGraph(config, lookup, target, adapted, cuts)],
      [`modulation${name}`, buildModulationGraph(config, lookup, target, adapted)],
      [`step_1${name}`, buildStepGraph(config, lookup, target, adapted, 1, cuts)],
      [`step_2${name}`, buildStepGraph(config, lookup, target, adapted, 2, cuts)],
    ]),
  );
}

/** Where a device can't read its weights, it runs on the CPU. */
export function textEncoderGraph({ textEncoder }: Components, target: Target): Model {
  return buildTextEncoder(textEncoder.config, textEncoder.lookup, target);
}

/** Every graph that a session on a device is made of, but for the text encoder's. */
export function sessionGraphs(
  components: Components,
  target: Target,
  cuts: Cuts,
  which: Adapters,
): Record<string, Model> {
  return {
    ...transformerGraphs(components, target, cuts, which),
    ...vaeGraphs(components, decoderTarget(target)),
  };
}

/** The VAE's, in stages and in one. */
export function vaeGraphs(
  { vae: { config, lookup } }: Components,
  target: Target,
): Record<string, Model> {
  const after = stagesAfterAttention(config);
  const attend = target.attention === "fused" ? buildFusedAttend : buildPlainAttend;
  return {
    ...Object.fromEntries(
      [...stagesBeforeAttention(config), ...after].map((stage) => [
        `vae_${stage.conv}`,
        buildStage(config, lookup, target, stage),
      ]),
    ),
    vae_queries: buildQueries(config, lookup, target),
    vae_attend: attend(config, target),
    vae_attended: buildAttended(config, lookup, target),
    vae_whole: buildWhole(config, lookup, target, after),
  };
}
