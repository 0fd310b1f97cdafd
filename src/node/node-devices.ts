import type { Device, DeviceChoice } from "../config/model-options.ts";
import { chooseDevice } from "../onnx/choose-device.ts";
import type { DeviceFacts } from "../onnx/probe-answer.ts";
import type { WorkerLog } from "../worker/process.ts";

/** What a worker of this node computes on. */
export interface NodeDevice {
  readonly name: Device;
  /** Its card; null: the CPU, or not known (yet). */
  adapter: string | null;
  /** null: not known (yet). */
  facts: DeviceFacts | null;
  /** Why `auto` took it; null: it was named. */
  readonly reason: string | null;
}

/**
 * The devices of a node's workers. `auto` is decided here, once: a worker that follows one whose
 * device failed starts on that device again, and not quietly on the CPU. A device that was named is
 * tried meanwhile; what is wrong with it, readiness says.
 */
export async function nodeDevices(
  choices: readonly DeviceChoice[],
  log: WorkerLog,
): Promise<NodeDevice[]> {
  return Promise.all(
    choices.map(async (choice) => {
      const known = (name: Device, { name: adapter, driver, memoryBytes }: DeviceFacts) => {
        const facts = { device: name, adapter, driver, memory_bytes: memoryBytes };
        log.info(facts, "a worker computes on this device");
        return name === "cpu" ? null : adapter;
      };
      if (choice === "auto") {
        const { device, facts, reason } = await chooseDevice("auto");
        log.info({ device, reason }, "DEVICE=auto");
        return { name: device, adapter: known(device, facts), facts, reason };
      }
      const own: NodeDevice = { name: choice, adapter: null, facts: null, reason: null };
      chooseDevice(choice).then(
        ({ facts, warning }) => {
          own.adapter = known(choice, facts);
          own.facts = facts;
          if (warning !== null) log.warn({ device: choice }, warning);
        },
        () => {},
      );
      return own;
    }),
  );
}
