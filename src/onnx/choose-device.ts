import { readdirSync } from "node:fs";
import type { Device, DeviceChoice } from "../config/model-options.ts";
import { CanceledError } from "../errors.ts";
import { withoutPaths } from "../files/without-paths.ts";
import { DeviceError, hasCudaFiles, providerFor } from "./device.ts";
import { softwareProblem } from "./device-facts.ts";
import type { DeviceFacts } from "./probe-answer.ts";
import { type ProbeOptions, probeDevice } from "./probe-device.ts";

/** What computes, and why it does. */
export interface ChosenDevice {
  readonly device: Device;
  readonly facts: DeviceFacts;
  /** Why `auto` took it; null: it was named. No path of the machine is in it. */
  readonly reason: string | null;
  /** For who named it. */
  readonly warning: string | null;
}

/**
 * In which order `auto` tries. CUDA computes in bf16 as the training did, with weights as they are
 * stored. WebGPU is held to the reference by the tests, if only on software. DirectML comes last:
 * no test has ever run on it, and where it opens, WebGPU does too.
 */
const order = ["cuda", "webgpu", "dml"] as const;

let automatic: Promise<ChosenDevice> | undefined;

/**
 * The device that was named; for `auto`, once in a process, the first that opens and computes right
 * numbers and is no software adapter, else the CPU.
 *
 * @param signal ends the process that asks
 * @throws DeviceError if the one that was named can't be used
 * @throws CanceledError after the signal
 */
export function chooseDevice(choice: DeviceChoice, signal?: AbortSignal): Promise<ChosenDevice> {
  const ending = signal === undefined ? {} : { signal };
  if (choice !== "auto") return named(choice, ending);
  automatic ??= best(ending);
  return automatic;
}

type Ending = Pick<ProbeOptions, "signal">;

async function named(device: Device, ending: Ending): Promise<ChosenDevice> {
  providerFor(device);
  const { problem, facts } = await probeDevice(device, ending);
  if (ending.signal?.aborted === true) throw new CanceledError();
  if (problem !== null || facts === null)
    throw new DeviceError(`--device ${device} can't be used: ${problem}. Or use --device cpu.`);
  const warning =
    facts.isSoftware === true && device !== "cpu"
      ? `--device ${device} is ${facts.name ?? "a software adapter"}, which computes on the CPU: --device cpu is faster`
      : null;
  return { device, facts, reason: null, warning };
}

async function best(ending: Ending): Promise<ChosenDevice> {
  const passedOver: string[] = [];
  for (const device of candidates()) {
    const { problem, facts } =
      device === "cuda" && !hasCudaFiles()
        ? { problem: "ONNX Runtime's CUDA files are not here (see retake doctor)", facts: null }
        : await probeDevice(device, { hardwareOnly: true, ...ending });
    if (ending.signal?.aborted === true) throw new CanceledError();
    const unfit = problem ?? (facts === null ? null : softwareProblem(facts));
    if (unfit !== null || facts === null) {
      passedOver.push(`${device} can't be taken: ${withoutPaths(unfit ?? "it is not known")}`);
      continue;
    }
    const reason = ["it opens and computes right numbers", ...passedOver].join("; ");
    return { device, facts, reason, warning: null };
  }
  const { facts } = await probeDevice("cpu");
  const reason = passedOver.length === 0 ? "this machine shows no GPU" : passedOver.join("; ");
  return { device: "cpu", facts: facts!, reason, warning: null };
}

/** What a look at the machine does not rule out: to open a device takes a second, and a driver may hang. */
function candidates(): Device[] {
  if (process.platform === "win32") return order.filter((device) => device !== "cuda");
  if (process.platform === "darwin") return ["webgpu"];
  const has = (folder: string, name: RegExp) => {
    try {
      return readdirSync(folder).some((entry) => name.test(entry));
    } catch {
      return false;
    }
  };
  // /dev/dxg is the Windows machine's GPU inside of WSL.
  const hasNvidia = has("/dev", /^(nvidia\d|nvidiactl|dxg)/);
  // Who names a Vulkan driver has one that no file of the system's shows.
  const namesDriver = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"].some(
    (name) => (process.env[name] ?? "") !== "",
  );
  return [
    ...(hasNvidia ? (["cuda"] as const) : []),
    ...(hasNvidia || namesDriver || has("/dev/dri", /^renderD/) ? (["webgpu"] as const) : []),
  ];
}
