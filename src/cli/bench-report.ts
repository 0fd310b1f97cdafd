import type { Device } from "../config/model-options.ts";
import { sizeText } from "../files/space.ts";
import type { DeviceFacts } from "../onnx/probe-answer.ts";
import type { Difference, Measured } from "../pipeline/measure.ts";
import { realBlocks, realLayers } from "../pipeline/random-store.ts";

export interface SizeFigures extends Measured {
  /** Side of the square. */
  readonly size: number;
}

/** What a bench found. */
export interface BenchReport {
  readonly versions: { readonly retake: string; readonly onnxruntime: string };
  readonly machine: {
    readonly system: string;
    readonly node: string;
    readonly processor: string;
    readonly cores: number;
    readonly memoryBytes: number;
  };
  readonly device: Device;
  readonly card: DeviceFacts;
  readonly model: string;
  /** Of random weights; null: the weights are the model's own. */
  readonly randomLayers: number | null;
  /** Of all weights, as they are held. */
  readonly weightBytes: number;
  readonly storage: string;
  readonly steps: number;
  readonly guidance: number;
  readonly openSeconds: number;
  readonly sizes: readonly SizeFigures[];
  readonly memory: {
    /** Of the process, with mapped files, which the system can drop. */
    readonly peakBytes: number;
    /** Without them; null where the system does not tell. */
    readonly ownBytes: number | null;
  };
  readonly difference: (Difference & { readonly storage: string }) | null;
}

/** Seconds of a step of the whole model, from those of fewer layers: a step is its blocks, and nearly nothing else. */
function extrapolated({ randomLayers }: BenchReport, stepSeconds: number): number | null {
  if (randomLayers === null || randomLayers === realLayers) return null;
  return (stepSeconds * realBlocks(realLayers)) / realBlocks(randomLayers);
}

/** A table for a person. */
export function benchText(report: BenchReport): string {
  const { versions, machine, device, storage, sizes, memory, difference } = report;
  const seconds = (value: number) => `${value.toPrecision(3)} s`;
  const rows = sizes.map((figures) => {
    const all = extrapolated(report, figures.stepSeconds);
    return [
      `${figures.size}x${figures.size}`,
      seconds(figures.stepSeconds),
      ...(all === null ? [] : [seconds(all)]),
      seconds(figures.firstStepSeconds),
      seconds(figures.decodeSeconds),
    ];
  });
  const isCut = extrapolated(report, 1) !== null;
  const heads = [
    "picture",
    isCut ? `step, ${report.randomLayers} of ${realLayers} layers` : "step",
    ...(isCut ? [`extrapolated to ${realLayers}`] : []),
    "first step, with loading",
    "decoding",
  ];
  const own = memory.ownBytes === null ? "" : `, ${sizeText(memory.ownBytes)} without mapped files`;
  return [
    `retake ${versions.retake}, ONNX Runtime ${versions.onnxruntime}, Node ${machine.node}, ${machine.system}`,
    `processor   ${machine.processor}, ${machine.cores} cores, ${sizeText(machine.memoryBytes)}`,
    `device      ${device}${device === "cpu" ? "" : `: ${cardText(report.card)}`}`,
    `model       ${report.model}, ${weightsText(report)}, held as ${storage}: ${sizeText(report.weightBytes)}`,
    `request     ${report.steps} steps, ${report.guidance > 0 ? "two captions" : "one caption"}`,
    ...tableOf([heads, ...rows]),
    `memory      ${sizeText(memory.peakBytes)} of the process at most${own}`,
    ...(device === "cpu" ? [] : [`sent        ${sentText(report)}`]),
    ...(difference === null
      ? []
      : [
          `difference  from the CPU, demonstration model held as ${difference.storage}: ${difference.prediction.toExponential(1)} of the first prediction's largest value, ${(255 * difference.picture).toPrecision(2)} of 255 in the picture`,
        ]),
    "",
  ].join("\n");
}

function cardText({ name, driver, memoryBytes }: DeviceFacts): string {
  const memory = memoryBytes === null ? "memory not known" : sizeText(memoryBytes);
  return `${name ?? "name not known"}, driver ${driver ?? "not known"}, ${memory}`;
}

/** What crosses to the device. */
function sentText({ device, sizes }: BenchReport): string {
  const most = (kind: "first" | "step") => sizeText(Math.max(...sizes.map(({ fed }) => fed[kind])));
  const loading = device === "webgpu" ? `${most("first")} until the first step ends, ` : "";
  return `${loading}${most("step")} in each other step`;
}

function weightsText({ randomLayers }: BenchReport): string {
  if (randomLayers === null) return "its own weights";
  return randomLayers === realLayers
    ? "random weights of the real shape"
    : `random weights of ${randomLayers} of ${realLayers} layers`;
}

function tableOf(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join("   ")
      .trimEnd(),
  );
}

/** One line of it, to be read by a program. */
export function wireForm(report: BenchReport) {
  const { versions, machine, memory, difference } = report;
  return {
    ...versions,
    system: machine.system,
    node: machine.node,
    processor: machine.processor,
    cores: machine.cores,
    memory_bytes: machine.memoryBytes,
    device: report.device,
    card: report.card.name,
    driver: report.card.driver,
    is_software: report.card.isSoftware,
    device_memory_bytes: report.card.memoryBytes,
    model: report.model,
    random_layers: report.randomLayers,
    weight_bytes: report.weightBytes,
    storage: report.storage,
    steps: report.steps,
    guidance: report.guidance,
    open_seconds: report.openSeconds,
    sizes: report.sizes.map((figures) => ({
      size: figures.size,
      step_seconds: figures.stepSeconds,
      extrapolated_step_seconds: extrapolated(report, figures.stepSeconds),
      first_step_seconds: figures.firstStepSeconds,
      decode_seconds: figures.decodeSeconds,
      request_seconds: figures.requestSeconds,
      // On other devices the runtime itself sends the weights, when it opens a graph.
      loading_bytes: report.device === "webgpu" ? figures.fed.first : null,
      step_bytes: report.device === "cpu" ? null : figures.fed.step,
    })),
    peak_bytes: memory.peakBytes,
    own_bytes: memory.ownBytes,
    difference,
  };
}
