import type { Sql } from "./database.ts";
import { queueName } from "./queue.ts";

/** The model that a worker has loaded, and how long it was preferred to better requests. */
export interface Loaded {
  readonly model: string;
  /** Jobs taken ahead of better ones since the last that wasn't. */
  readonly ahead: number;
  /** `performance.now()` when the first of them was taken. */
  readonly since: number;
}

/** Loading another model takes longer than most pictures; waiting behind 8 pictures or a minute is fair. */
const mostAhead = 8;
const longestAheadMilliseconds = 60_000;

/** A model that requests wait for, with the priority of the best of them. */
export interface WaitingModel {
  readonly model: string;
  readonly priority: number;
}

/**
 * What requests fulfil that wait, in SQL; `$1` is the start of queues' names.
 * A running one does when its node died and pg-boss gave it up: it waits for
 * another run, which its record doesn't say.
 */
export const isWaiting = `finished_at IS NULL AND (state = 'in_queue' OR EXISTS
  (SELECT 1 FROM pgboss.job WHERE name = $1::text || model AND job.id = request.id AND job.state < 'active'))`;

/** The models that requests wait for, that of the best one (priority, then age) first. */
export async function waitingModels(sql: Sql): Promise<WaitingModel[]> {
  const rows = await sql.query(
    `SELECT DISTINCT ON (model) model, priority, created_at FROM retake.request
     WHERE ${isWaiting} ORDER BY model, priority DESC, created_at`,
    [queueName("")],
  );
  return rows
    .map(({ model, priority, created_at }) => ({
      model: String(model),
      priority: Number(priority),
      created: Number(created_at),
    }))
    .toSorted((a, b) => b.priority - a.priority || a.created - b.created);
}

/** The order in which a worker looks: the loaded model first if none is of higher priority and its turn isn't over. */
export function inOrder(waiting: readonly WaitingModel[], loaded: Loaded | undefined): string[] {
  const models = waiting.map(({ model }) => model);
  const preferred = waiting.find(({ model }) => model === loaded?.model);
  if (
    loaded === undefined ||
    preferred === undefined ||
    preferred.priority < waiting[0]!.priority ||
    loaded.ahead >= mostAhead ||
    (loaded.ahead > 0 && performance.now() - loaded.since > longestAheadMilliseconds)
  ) {
    return models;
  }
  return [loaded.model, ...models.filter((model) => model !== loaded.model)];
}

/** After a job was taken. */
export function loadedAfter(model: string, best: string, loaded: Loaded | undefined): Loaded {
  if (model === best || loaded?.model !== model) return { model, ahead: 0, since: 0 };
  const since = loaded.ahead === 0 ? performance.now() : loaded.since;
  return { model, ahead: loaded.ahead + 1, since };
}
