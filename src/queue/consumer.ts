import type { JobEvent, JobResult } from "../job/job.ts";
import { addEvent, EventWriter } from "./events.ts";
import type { Loaded, WaitingModel } from "./preference.ts";
import { inOrder, loadedAfter, waitingModels } from "./preference.ts";
import type { Queue } from "./queue.ts";
import { queueName } from "./queue.ts";
import type { RequestRecord } from "./record.ts";
import { parseRecord, recordColumns } from "./record.ts";
import type { Claim } from "./run-watch.ts";
import { watchRun } from "./run-watch.ts";
import type { Outcome } from "./settle.ts";
import { failInterrupted, handedBack, mostRuns, outcomeOf, settle } from "./settle.ts";

/** Does a job's work. @throws JobError saying whether another run may go well */
export type Run = (
  record: RequestRecord,
  options: { signal: AbortSignal; onEvent: (event: JobEvent) => void },
) => Promise<JobResult>;

export interface ConsumerOptions {
  /** Names this consumer in records. */
  readonly name: string;
  /** Whether requests for a model may be taken now: it may have to be fetched first. */
  readonly isReady: (model: string) => Promise<boolean>;
  readonly run: Run;
  /** Seconds a run may take. */
  readonly timeoutSeconds: number;
  /** Stops: no new job; the running one is handed back when `handBack` fires. */
  readonly stop: AbortSignal;
  readonly handBack: AbortSignal;
  readonly onError: (error: unknown) => void;
}

const idlePollMilliseconds = 1000;

/** Takes one job after another and runs it, until it is told to stop. One consumer per worker. */
export async function consume(queue: Queue, options: ConsumerOptions): Promise<void> {
  const { stop, onError } = options;
  let loaded: Loaded | undefined;
  while (!stop.aborted) {
    const queued = queue.signals.wait("queued", idlePollMilliseconds, stop);
    try {
      const waiting = await readyOf(await waitingModels(queue.database), options);
      if (stop.aborted) return;
      const claim = await takeJob(queue, options.name, inOrder(waiting, loaded));
      if (claim === undefined) {
        await queued;
        continue;
      }
      loaded = loadedAfter(claim.record.job.model, waiting[0]!.model, loaded);
      await runJob(queue, claim, options);
    } catch (error) {
      // The database is away: the job is taken up again when it is back.
      onError(error);
      await queued;
    }
  }
}

async function readyOf(
  waiting: readonly WaitingModel[],
  { isReady }: ConsumerOptions,
): Promise<WaitingModel[]> {
  const ready: WaitingModel[] = [];
  for (const one of waiting) if (await isReady(one.model)) ready.push(one);
  return ready;
}

async function takeJob(
  queue: Queue,
  node: string,
  models: readonly string[],
): Promise<Claim | undefined> {
  for (const model of models) {
    const [job] = await queue.boss.fetch(queueName(model));
    if (job === undefined) continue;
    const { id, retryCount } = job;
    const claim = await beginRun(queue, node, { id, retryCount }, model);
    if (claim !== undefined) return claim;
  }
  return undefined;
}

/** Counts the run, unless the request has ended or has been interrupted too often. */
async function beginRun(
  queue: Queue,
  node: string,
  attempt: Claim["attempt"],
  model: string,
): Promise<Claim | undefined> {
  return queue.database.transaction(async (sql) => {
    const [row] = await sql.query(
      `UPDATE retake.request SET state = 'in_progress', node = $2, attempt = attempt + 1,
         started_at = coalesce(started_at, clock_timestamp())
       WHERE id = $1 AND finished_at IS NULL AND attempt < $3 RETURNING ${recordColumns}`,
      [attempt.id, node, mostRuns],
    );
    if (row !== undefined) {
      await addEvent(sql, attempt.id, { type: "state", state: "in_progress" });
      return { record: parseRecord(row), attempt };
    }
    await failInterrupted(queue, sql, attempt.id);
    await queue.boss.complete(queueName(model), attempt, null, { db: sql.forPgBoss });
    return undefined;
  });
}

async function runJob(queue: Queue, claim: Claim, options: ConsumerOptions): Promise<void> {
  const { record } = claim;
  if (options.stop.aborted) {
    // The stop came while it was taken: nothing of it begins.
    await settle(queue, claim, handedBack, options);
    return;
  }
  const watch = watchRun(queue, claim, options);
  const events = new EventWriter(queue.database, record, options.onError);
  let outcome: Outcome;
  try {
    const result = await options.run(record, {
      signal: watch.signal,
      onEvent: (event) => events.add(event),
    });
    outcome = { state: "succeeded", result };
  } catch (error) {
    outcome = outcomeOf(error, watch.signal, options.timeoutSeconds);
  } finally {
    watch.end();
  }
  await events.flush();
  await settle(queue, claim, outcome, options);
}
