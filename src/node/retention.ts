import type { Queue } from "../queue/queue.ts";
import type { RequestRecord } from "../queue/record.ts";
import type { ResultStore } from "../storage/results.ts";

interface Stores {
  readonly queue: Queue;
  readonly results: ResultStore;
}

/**
 * Forgets a request that has ended, and its files. They go first: what a crash
 * or an error leaves is found again by the record that is still there.
 */
export async function forget(
  { id, job }: Pick<RequestRecord, "id" | "job">,
  { queue, results }: Stores,
): Promise<void> {
  await results.removeAll(job);
  await queue.remove(id);
}

/**
 * Forgets what ended so many days ago.
 *
 * @param onError is told of each request whose files can't be removed; it is tried again the next time
 */
export async function forgetOld(
  days: number,
  { onError, ...stores }: Stores & { readonly onError: (error: unknown) => void },
): Promise<void> {
  const time = new Date(Date.now() - days * 24 * 60 * 60 * 1000);
  for (const id of await stores.queue.finishedBefore(time)) {
    const record = await stores.queue.get(id);
    // Another node may do the same.
    if (record !== undefined) await forget(record, stores).catch(onError);
  }
}
