import { parse, sep } from "node:path";
import { InputError } from "../errors.ts";

/** Where a file lies, as the runtime takes it: absolute locations it refuses, a path below a root is none. */
export interface ExternalPlace {
  /** The file system's root: `/`, or a drive or a share on Windows. */
  readonly root: string;
  readonly location: string;
}

/** @param parsePath as the system reads paths */
export function externalPlace(file: string, parsePath: typeof parse = parse): ExternalPlace {
  const { root } = parsePath(file);
  return { root, location: file.slice(root.length) };
}

/**
 * The one root below which all weights of a graph lie: the runtime takes one
 * for each session.
 *
 * @throws InputError if there are two
 */
export function commonRoot(places: Iterable<ExternalPlace>): string {
  const [first = parse(process.cwd()).root, ...others] = new Set(
    Array.from(places, ({ root }) => root),
  );
  if (others.length === 0) return first;
  throw new InputError(
    `Weights of one network lie on ${[first, ...others].map((root) => root.replace(/[\\/]+$/, "") || sep).join(" and on ")}: ONNX Runtime maps files of one drive only. Put the model store, the transformer's file and the cache (RETAKE_CACHE) on the same drive.`,
  );
}
