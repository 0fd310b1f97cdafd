import { basename } from "node:path";
import type { OpenOptions } from "../pipeline/open.ts";

/** Says on a terminal that files are made from weights, which may take minutes. */
export const sayPreparing: NonNullable<OpenOptions["onStart"]> = ({ sources, bytes }) => {
  if (!process.stderr.isTTY) return;
  const names = sources.map((file) => basename(file)).join(", ");
  process.stderr.write(`preparing ${names}: ${Math.ceil(bytes / 2 ** 20)} MiB, this once only\n`);
};
