import { isLoraLink } from "../lora-files/lora-path.ts";
import { startProgress } from "./progress.ts";
import { readLinkSettings } from "./settings.ts";

/**
 * The file on this machine of a LoRA that was named by a path or a link; a
 * link's settings are the server's.
 *
 * @throws InputError, TransferError, CanceledError as `resolveLoraSource`
 */
export async function loraFile(path: string, signal: AbortSignal): Promise<string> {
  if (!isLoraLink(path)) return path;
  // What it needs of the network takes a while to load: only for those who use it.
  const { resolveLoraSource } = await import("../lora-files/resolve.ts");
  const settings = readLinkSettings();
  const hfToken = settings.hub.token;
  const progress = startProgress("{bar} {value}/{total} MB of the LoRA, {eta_formatted} left");
  const onProgress = ({ received, total }: { received: number; total: number | undefined }) => {
    if (total !== undefined) progress.update(megabytes(received), megabytes(total));
  };
  const token = hfToken === undefined ? {} : { hfToken };
  try {
    return (await resolveLoraSource(path, settings, { ...token, signal, onProgress })).file;
  } finally {
    progress.stop();
  }
}

function megabytes(bytes: number): number {
  return Math.ceil(bytes / 1e6);
}
