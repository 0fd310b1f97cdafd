import type { StoreSettings } from "../config/settings.ts";
import { parseStoreSettings } from "../config/settings.ts";
import { InputError } from "../errors.ts";
import type { Pulled } from "../hub/pull.ts";
import { pull } from "../hub/pull.ts";
import { TransferError } from "../net/errors.ts";
import type { NeededRepository } from "./registry.ts";
import { adaptersOf, modelById, repositoriesOf } from "./registry.ts";

export interface PullModelsOptions {
  /** A model store to fetch into; `hub`, the default, is this machine's hub cache. */
  readonly weights?: string;
  /** Branch, tag or commit of a repository; `main` where it is left out. */
  readonly revisionOf?: (repository: string) => string;
  readonly signal?: AbortSignal;
  /** Bytes that are there, and that there will be, of all that was missing. */
  readonly onProgress?: (progress: { received: number; total: number }) => void;
  /** Another process fetches the same repository; this one goes on when it is done. */
  readonly onWait?: (repository: string) => void;
  /**
   * A training adapter could not be fetched, and the models were: they run without it, but for
   * `--as-trained`. Left out, that is an error.
   */
  readonly onWithout?: (repository: string, reason: string) => void;
}

/**
 * Fetches models' weights and training adapters from the hub, into the layout that the hub's own tools share. What is
 * there already is not fetched again; what was begun is gone on with. The hub, its token and the
 * like come from the environment: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` (docs/weights.md).
 *
 * @param models ids: `zimage_deturbo`, `zimage_turbo`, `zimage`
 * @param settings read from somewhere else than the environment
 * @throws InputError if there is no such model, the hub refuses, it must not be asked
 *   (`HF_HUB_OFFLINE`), or the disk can't be used
 * @throws TransferError if the transfer fails
 * @throws CanceledError at the signal; what came until then stays
 */
export async function pullModels(
  models: readonly string[],
  options: PullModelsOptions = {},
  settings: StoreSettings = parseStoreSettings({
    ...process.env,
    RETAKE_WEIGHTS: options.weights ?? "hub",
  }),
): Promise<Pulled[]> {
  const { weights, hub, network } = settings;
  if (hub.offline) {
    throw new InputError(
      "HF_HUB_OFFLINE is set: nothing is fetched. Unset it, or leave the pull away.",
    );
  }
  const { revisionOf, signal, onProgress, onWait, onWithout } = options;
  const fetch = (needed: readonly NeededRepository[]) =>
    pull(
      needed.map((one) => ({ ...one, revision: revisionOf?.(one.repository) ?? "main" })),
      {
        weights,
        settings: hub,
        network,
        signal: signal ?? new AbortController().signal,
        onProgress: onProgress ?? (() => {}),
        onWait: onWait ?? (() => {}),
      },
    );
  const definitions = models.map(modelById);
  const pulled = await fetch(repositoriesOf(definitions));
  for (const adapter of adaptersOf(definitions)) {
    try {
      const [fetched] = await fetch([adapter]);
      if (fetched!.files === 0) throw new InputError(`${adapter.repository} holds no adapter.`);
      pulled.push(fetched!);
    } catch (error) {
      const isSaid = error instanceof InputError || error instanceof TransferError;
      if (!isSaid || onWithout === undefined) throw error;
      onWithout(adapter.repository, error.message);
    }
  }
  return pulled;
}
