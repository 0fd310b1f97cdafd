import { InvalidArgumentError, Option } from "commander";
import type { DeviceChoice } from "../config/model-options.ts";
import { deviceChoices, noDevice } from "../config/model-options.ts";
import type { ModelSettings } from "../config/settings.ts";
import { oneLine } from "../errors.ts";
import { chooseDevice } from "../onnx/choose-device.ts";

/** `--device` of the commands that draw. */
export function deviceOption(): Option {
  const names = deviceChoices.join(", ");
  return new Option("--device <name>", `what computes: ${names} (the first of DEVICE)`).argParser(
    (name: string): DeviceChoice => {
      const device = deviceChoices.find((known) => known === name);
      if (device === undefined) throw new InvalidArgumentError(`${noDevice(name)}.`);
      return device;
    },
  );
}

/**
 * The device that was asked for. Says what `auto` comes to, and what is bad about the one that was
 * named.
 *
 * @throws DeviceError if it can't be used
 * @throws CanceledError after the signal
 */
export async function sayDevice(
  { devices }: Pick<ModelSettings, "devices">,
  signal: AbortSignal,
): Promise<DeviceChoice> {
  // A server with DEVICE=none leaves the work to others; here nobody else would do it.
  const choice = devices[0] ?? "cpu";
  const { device, facts, reason, warning } = await chooseDevice(choice, signal);
  if (reason !== null) {
    const adapter = device === "cpu" || facts.name === null ? "" : ` (${facts.name})`;
    process.stderr.write(`device ${device}${adapter}: ${oneLine(reason)}\n`);
  }
  if (warning !== null) process.stderr.write(`warning: ${oneLine(warning)}\n`);
  return choice;
}
