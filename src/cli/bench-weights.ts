import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { InputError } from "../errors.ts";
import { withLock } from "../files/lock.ts";
import { makeFolders } from "../files/make-folders.ts";
import { freeBytes, sizeText } from "../files/space.ts";
import { removeTemporaries } from "../files/whole.ts";
import {
  randomStoreBytes,
  randomStoreModel,
  realLayers,
  realShape,
  writeRandomStore,
} from "../pipeline/random-store.ts";
import { startProgress } from "./progress.ts";

/** Flags that say which weights are measured. */
export interface WeightFlags {
  readonly model: string;
  readonly weights?: string;
  readonly transformer?: string;
  readonly random?: boolean;
  readonly layers?: number;
  readonly keep?: boolean;
}

/** What a killed run left of random weights goes when nothing was written to it for so long. */
const leftOverMs = 60 * 60 * 1000;

/** For what the system needs; what weights are made into looks for its own room. */
const spareBytes = 1e9;

/**
 * How many layers random weights are to have; null: weights are named. The demonstration's are
 * measured only if they are named: they say nothing of the real model.
 *
 * @param configured the store that the settings name
 * @throws InputError if both are asked for
 */
export function layersOfRandom(
  { random, layers, weights, transformer, keep, model }: WeightFlags,
  configured: string,
): number | null {
  const asked = random === true ? "--random" : layers === undefined ? null : "--layers";
  const named = weights ?? transformer;
  if (asked !== null && named !== undefined) {
    throw new InputError(`${asked}: weights are named too (${named}). Leave one of them away.`);
  }
  if (asked !== null || (named === undefined && configured === "demo")) {
    if (model !== randomStoreModel) {
      throw new InputError(
        `--model ${model}: random weights are made for ${randomStoreModel} alone; all models have one shape. Leave --model away, or give --weights.`,
      );
    }
    return layers ?? realLayers;
  }
  if (keep === true) {
    throw new InputError("--keep: no random weights are made here. Leave it away.");
  }
  return null;
}

/**
 * A store of random weights in the cache folder for as long as `work` takes, or one that an earlier
 * run kept. It is removed afterwards unless `keep`, with all that was made of it.
 *
 * @param work gets the store, and a cache folder that goes with it
 * @throws InputError if the disk has not enough room
 */
export async function withRandomStore<Result>(
  cacheFolder: string,
  { layers, keep }: { readonly layers: number; readonly keep: boolean },
  signal: AbortSignal,
  work: (store: string, cacheFolder: string, signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const folder = join(cacheFolder, `bench-${layers}-layers`);
  const store = join(folder, "store");
  await makeFolders(folder);
  const onWait = () => process.stderr.write("another bench runs: waiting for it\n");
  return await withLock(folder, { signal, onWait }, async (lockedSignal) => {
    try {
      await makeFolders(folder);
      await removeTemporaries(folder, leftOverMs);
      if (!existsSync(store)) await makeStore(store, layers, lockedSignal);
      return await work(store, folder, lockedSignal);
    } finally {
      if (!keep) await rm(folder, { recursive: true, force: true });
    }
  });
}

async function makeStore(store: string, layers: number, signal: AbortSignal): Promise<void> {
  const shape = realShape(layers);
  const bytes = randomStoreBytes(shape);
  const free = await freeBytes(store);
  if (free < bytes + spareBytes) {
    throw new InputError(
      `Random weights take ${sizeText(bytes + spareBytes)}, and ${store} has ${sizeText(free)} free. Give --layers for fewer of them, or set RETAKE_CACHE to a folder on another disk.`,
    );
  }
  process.stderr.write(
    `writing random weights of ${layers} of ${realLayers} layers: ${sizeText(bytes)} in ${store}\n`,
  );
  const progress = startProgress("{bar} {percentage} %, {eta_formatted} left");
  try {
    const onProgress = (written: number) => progress.update(written, bytes);
    await writeRandomStore(store, shape, { signal, onProgress });
  } finally {
    progress.stop();
  }
}
