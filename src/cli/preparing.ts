import { basename } from "node:path";
import type { OpenOptions } from "../pipeline/open.ts";
import { startByteProgress } from "./progress.ts";

/** Says on a terminal that files are made from weights, which may take minutes, and how far they are. */
export const sayPreparing: NonNullable<OpenOptions["onStart"]> = ({ sources, bytes }) => {
  if (!process.stderr.isTTY) return undefined;
  const names = sources.map((file) => basename(file)).join(", ");
  process.stderr.write(`preparing ${names}: ${Math.ceil(bytes / 2 ** 20)} MiB, this once only\n`);
  const bar = startByteProgress(false);
  return {
    update: (written) => bar.onProgress({ received: written, total: bytes }),
    stop: () => bar.stop(),
  };
};
