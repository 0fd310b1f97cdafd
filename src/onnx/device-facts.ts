import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Device } from "../config/model-options.ts";

/** What an execution provider computes on. */
export interface Adapter {
  /** null: nobody tells. */
  readonly name: string | null;
  /** Its driver's version, or the file that it lies in. */
  readonly driver: string | null;
  /** A processor that plays a GPU; null: nobody tells. */
  readonly isSoftware: boolean | null;
}

/** Memory that weights can lie in. */
export interface DeviceMemory {
  /** All of it, used or not; null: nobody tells. */
  readonly memoryBytes: number | null;
  /** It is the machine's own, which other programs need too. */
  readonly isShared: boolean;
}

const software = /llvmpipe|lavapipe|softpipe|swiftshader|basic render|\bWARP\b/i;

/**
 * Which adapter the runtime took, by what it and the Vulkan loader write (VK_LOADER_DEBUG): ONNX
 * Runtime has no call that tells.
 *
 * @param log of a process that opened the device
 */
export function adapterIn(
  log: string,
  device: Device,
  platform: NodeJS.Platform = process.platform,
): Adapter {
  // Metal has none that is not hardware.
  if (platform === "darwin")
    return { name: cpus()[0]?.model ?? null, driver: null, isSoftware: false };
  if (platform === "win32") {
    const { description } = windowsGpu(log, device) ?? {};
    // What the runtime lists is hardware: Windows's own software adapter is not in it.
    return { name: description ?? null, driver: null, isSoftware: description === undefined };
  }
  const used = [...log.matchAll(/Using "(.+)" with driver: "(.+)"/g)].at(-1);
  if (used !== undefined) {
    const [, name = "", driver = ""] = used;
    return { name, driver, isSoftware: software.test(name) };
  }
  // Loaders before 1.3.207 don't tell which one: only whether all are of one kind.
  const listed = [...log.matchAll(/\[\d+\] (\S.*?) *(?:\[default\] *)?$/gm)].map(
    ([, name = ""]) => name,
  );
  const kinds = new Set(listed.map((name) => software.test(name)));
  const [isSoftware = null] = kinds;
  return {
    name: new Set(listed).size === 1 ? listed[0]! : null,
    driver: null,
    isSoftware: kinds.size === 1 ? isSoftware : null,
  };
}

/** Why an adapter is not one that anybody should get who named none; null: it is hardware. */
export function softwareProblem({ name, isSoftware }: Adapter): string | null {
  if (isSoftware === false) return null;
  return isSoftware === true
    ? `${name ?? "its adapter"} is a software adapter, slower than the CPU by itself`
    : "its driver does not tell whether it is a software adapter; name the device if it is none";
}

/** The GPU that a provider takes, of those that the runtime found: DirectML the first, WebGPU the fastest. */
function windowsGpu(
  log: string,
  device: Device,
): { description: string; metadata: string } | undefined {
  const order = device === "dml" ? "DxgiAdapterNumber" : "DxgiHighPerformanceIndex";
  const found = [
    ...log.matchAll(/Discovered OrtHardwareDevice \{.*?type:1, metadata: \[(.*)\]\}/g),
  ];
  const gpus = found.map(([, metadata = ""]) => ({
    metadata,
    description: valueIn(metadata, "Description") ?? "a GPU",
    rank: Number(valueIn(metadata, order) ?? Number.POSITIVE_INFINITY),
  }));
  return gpus.toSorted((a, b) => a.rank - b.rank)[0];
}

function valueIn(metadata: string, key: string): string | undefined {
  return new RegExp(`(?:^|, )${key}=(.*?)(?:, |$)`).exec(metadata)?.[1]?.trim();
}

const unknown: DeviceMemory = { memoryBytes: null, isShared: false };
const megabyte = 2 ** 20;

/** How much memory an adapter has, by what the system says of it. */
export async function memoryOf(
  { name, isSoftware }: Adapter,
  device: Device,
  log: string,
): Promise<DeviceMemory> {
  const shared = { memoryBytes: totalmem(), isShared: true };
  if (isSoftware === true) return shared;
  if (process.platform === "darwin") return process.arch === "arm64" ? shared : unknown;
  if (process.platform === "win32") {
    const { metadata = "" } = windowsGpu(log, device) ?? {};
    const own = Number.parseInt(valueIn(metadata, "DxgiVideoMemory") ?? "", 10);
    if (valueIn(metadata, "Discrete") === "0") return shared;
    return Number.isNaN(own) ? unknown : { memoryBytes: own * megabyte, isShared: false };
  }
  const text = name ?? "";
  if (/nvidia|geforce|quadro|tesla/i.test(text)) {
    const card = await nvidiaCard(name);
    return card === null ? unknown : { memoryBytes: card.memoryBytes, isShared: false };
  }
  if (/\bamd\b|radeon|radv/i.test(text)) return (await amdMemory()) ?? unknown;
  // Intel's cards with memory of their own are named by these; how much it is, no file tells.
  if (/intel/i.test(text)) return /\((DG\d|BMG)/.test(text) ? unknown : shared;
  return unknown;
}

export interface NvidiaCard {
  readonly name: string;
  readonly driver: string;
  readonly memoryBytes: number;
}

/** The card of this name, or the first that CUDA sees; null without NVIDIA's driver. */
export async function nvidiaCard(name: string | null): Promise<NvidiaCard | null> {
  const [visible = ""] = (process.env.CUDA_VISIBLE_DEVICES ?? "").split(",");
  const own = name === null && visible !== "" ? ["-i", visible] : [];
  const query = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"];
  const answer = await promisify(execFile)("nvidia-smi", [...query, ...own]).catch(() => null);
  const cards = (answer?.stdout ?? "").trim().split("\n").flatMap(cardIn);
  return cards.find((card) => name === null || name.includes(card.name)) ?? null;
}

function cardIn(line: string): NvidiaCard[] {
  const [, name, driver, megabytes] = /^(.+), (.+), (\d+)$/.exec(line.trim()) ?? [];
  if (name === undefined || driver === undefined) return [];
  return [{ name, driver, memoryBytes: Number(megabytes) * megabyte }];
}

/** Below it, memory of an AMD GPU's own is what the firmware set aside for a screen. */
const leastOwnBytes = 2 * 2 ** 30;

/** Of the card with the most memory, which is the one that the runtime prefers. */
async function amdMemory(folder = "/sys/class/drm"): Promise<DeviceMemory | null> {
  const cards = await readdir(folder).catch(() => []);
  const memories: DeviceMemory[] = [];
  for (const card of cards.filter((entry) => /^card\d+$/.test(entry))) {
    const bytes = async (kind: "vram" | "gtt") =>
      Number(await readFile(join(folder, card, `device/mem_info_${kind}_total`), "utf8"));
    const own = await bytes("vram").catch(() => null);
    if (own === null) continue;
    memories.push(
      own >= leastOwnBytes
        ? { memoryBytes: own, isShared: false }
        : { memoryBytes: own + (await bytes("gtt").catch(() => 0)), isShared: true },
    );
  }
  const most = memories.toSorted((a, b) => (b.memoryBytes ?? 0) - (a.memoryBytes ?? 0));
  return most[0] ?? null;
}
