import { access, constants, stat } from "node:fs/promises";
import { totalmem } from "node:os";
import { resolve } from "node:path";
import { env } from "onnxruntime-node";
import { type Device, devices } from "../config/model-options.ts";
import type { Settings, StoreSettings } from "../config/settings.ts";
import { InputError } from "../errors.ts";
import { existingPart, freeBytes } from "../files/space.ts";
import { readHubToken } from "../hub/connection.ts";
import { redactUrl } from "../net/redact.ts";
import { chooseDevice } from "../onnx/choose-device.ts";
import type { ProbeAnswer } from "../onnx/probe-answer.ts";
import { probeDevice } from "../onnx/probe-device.ts";

export interface Machine {
  readonly node: string;
  readonly onnxruntime: string;
  /** The container's limit where there is one. */
  readonly memoryBytes: number;
  readonly availableBytes: number;
  /** Where weights lie or would be fetched to. */
  readonly diskFreeBytes: number;
  /** Whom a pull asks. */
  readonly hub: {
    readonly endpoint: string;
    readonly hasToken: boolean;
    readonly offline: boolean;
  };
  /** problem: null if the device can be used. */
  readonly devices: readonly (ProbeAnswer & { readonly name: Device })[];
  /** What DEVICE=auto comes to. */
  readonly automatic: { readonly device: Device; readonly reason: string };
  /** Why the server would not start with these settings. */
  readonly settingsProblem: string | null;
  /** Folders that the server writes to, by their setting. */
  readonly folders: readonly {
    readonly setting: string;
    readonly path: string;
    readonly writable: boolean;
  }[];
}

/** Looks at what this machine has; nothing is changed. */
export async function inspectMachine(
  { weights, hub }: StoreSettings,
  server: Settings | InputError,
): Promise<Machine> {
  const { device, reason } = await chooseDevice("auto");
  // Without a limit it tells a number far above any machine's memory.
  const limit = process.constrainedMemory();
  const memoryBytes = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  return {
    node: process.versions.node,
    onnxruntime: env.versions.node ?? env.versions.common,
    memoryBytes,
    availableBytes: Math.min(process.availableMemory(), memoryBytes),
    diskFreeBytes: await freeBytes(resolve(weights)),
    hub: {
      endpoint: redactUrl(hub.endpoint),
      hasToken: (await readHubToken(hub)) !== undefined,
      offline: hub.offline,
    },
    devices: await Promise.all(
      devices.map(async (name) => ({ name, ...(await probeDevice(name)) })),
    ),
    automatic: { device, reason: reason ?? "it was named" },
    settingsProblem: server instanceof InputError ? server.message : null,
    folders: await Promise.all(
      foldersOf(server).map(async ({ setting, path }) => ({
        setting,
        path,
        writable: await isWritable(resolve(path)),
      })),
    ),
  };
}

function foldersOf(server: Settings | InputError): { setting: string; path: string }[] {
  if (server instanceof InputError) return [];
  return [
    { setting: "OUTPUT_BASE_PATH", path: server.outputFolder },
    { setting: "RETAKE_DATA", path: server.dataFolder },
    { setting: "LORA_DOWNLOAD_CACHE_DIR", path: server.loraSource.cacheDir },
  ].filter(({ path }) => !path.startsWith("s3://"));
}

/** Whether files can be made in a folder, or the folder itself where it will be. */
async function isWritable(folder: string): Promise<boolean> {
  const place = await existingPart(folder);
  const isFolder = (await stat(place)).isDirectory();
  const allowed = await access(place, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
  return isFolder && allowed;
}
