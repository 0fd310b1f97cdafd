import { messageOf } from "../errors.ts";
import { withoutPaths } from "../files/without-paths.ts";
import type { JobFailure, JobResult } from "../job/job.ts";
import { JobError } from "../job/job.ts";
import type { Sql } from "./database.ts";
import { endRequest } from "./end-request.ts";
import { addEvent } from "./events.ts";
import type { Queue } from "./queue.ts";
import { queueName } from "./queue.ts";
import type { AbortReason, Claim } from "./run-watch.ts";

/** The first run and two more after interruptions. */
export const mostRuns = 3;

const settleTries = 120;
const settleMilliseconds = 500;

/** How a run ended. */
export type Outcome =
  | { readonly state: "succeeded"; readonly result: JobResult }
  | { readonly state: "failed" | "canceled"; readonly failure: JobFailure }
  | { readonly state: "again"; readonly failure: JobFailure; readonly counts: true }
  | typeof handedBack
  | { readonly state: "lost" };

/** Its node stops: it waits again, as if this run had not been. */
export const handedBack = { state: "again", counts: false } as const;

export function outcomeOf(error: unknown, signal: AbortSignal, timeoutSeconds: number): Outcome {
  const failure: JobFailure =
    error instanceof JobError
      ? error.failure
      : {
          code: "INFERENCE_ERROR",
          message: withoutPaths(messageOf(error)),
          promptIndex: null,
          images: [],
        };
  const reason: AbortReason | undefined = signal.aborted ? signal.reason : undefined; // set by stopFor alone
  switch (reason) {
    case "canceled":
      return { state: "canceled", failure: { ...failure, code: "CANCELED", message: "Canceled." } };
    case "timeout": {
      const message = `The request took longer than ${timeoutSeconds} seconds (INFERENCE_TIMEOUT) and was stopped. Ask for fewer prompts, steps or pixels, or raise the limit.`;
      return { state: "failed", failure: { ...failure, code: "TIMEOUT", message } };
    }
    case "handed back":
      return handedBack;
    case "lost":
      return { state: "lost" };
    default:
      return error instanceof JobError && error.retryable
        ? { state: "again", failure, counts: true }
        : { state: "failed", failure };
  }
}

/** A job that was taken up again once too often. */
export async function failInterrupted(queue: Queue, sql: Sql, id: string): Promise<void> {
  const failure: JobFailure = {
    code: "INTERRUPTED",
    message: `The request was run ${mostRuns} times, and each time its worker ended in the middle of it. It may need more memory than this machine has.`,
    promptIndex: null,
    images: [],
  };
  await endRequest(queue.boss, sql, { id, state: "failed", failure });
}

/** Writes how a run ended, once: another node may have taken the job over. */
export async function settle(
  queue: Queue,
  { record, attempt }: Claim,
  outcome: Outcome,
  { handBack, onError }: { handBack: AbortSignal; onError: (error: unknown) => void },
): Promise<void> {
  if (outcome.state === "lost") return;
  const name = queueName(record.job.model);
  const write = () =>
    queue.database.transaction(async (sql) => {
      const db = sql.forPgBoss;
      if (outcome.state === "again" && (record.attempt < mostRuns || !outcome.counts)) {
        const [row] = await sql.query(
          `UPDATE retake.request SET state = 'in_queue', attempt = attempt - $3
           WHERE id = $1 AND attempt = $2 AND state = 'in_progress' RETURNING id`,
          [record.id, record.attempt, outcome.counts ? 0 : 1],
        );
        if (row === undefined) return;
        await addEvent(sql, record.id, { type: "state", state: "in_queue" });
        await queue.boss.fail(name, attempt, null, { db });
        return;
      }
      const state = outcome.state === "again" ? "failed" : outcome.state;
      await endRequest(queue.boss, sql, { ...record, ...outcome, state });
      await queue.boss.complete(name, attempt, null, { db });
    });
  // A result that took minutes is not thrown away because the database is restarting.
  for (let waited = 0; ; waited++) {
    try {
      await write();
      return;
    } catch (error) {
      onError(error);
      // A node that stops leaves it to the next one, which finds it interrupted.
      if (waited === settleTries || handBack.aborted) throw error;
      await new Promise((done) => setTimeout(done, settleMilliseconds));
    }
  }
}
