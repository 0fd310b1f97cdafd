import type { Queue } from "./queue.ts";
import { heartbeatSeconds, queueName } from "./queue.ts";
import type { RequestRecord } from "./record.ts";

/** Why a run was told to stop. */
export type AbortReason = "canceled" | "timeout" | "handed back" | "lost";

/** A job that this node holds. */
export interface Claim {
  readonly record: RequestRecord;
  /** pg-boss's name for this attempt: what a run that was taken over says is ignored. */
  readonly attempt: { readonly id: string; readonly retryCount: number };
}

export interface RunLimits {
  readonly timeoutSeconds: number;
  readonly handBack: AbortSignal;
  readonly onError: (error: unknown) => void;
}

const lookMilliseconds = 1000;
const touchMilliseconds = (heartbeatSeconds * 1000) / 3;

/** Tells pg-boss that a run lives, and tells the run when to stop: canceled, out of time, handed back or taken over. */
export function watchRun(
  queue: Queue,
  { record, attempt }: Claim,
  { timeoutSeconds, handBack, onError }: RunLimits,
): { readonly signal: AbortSignal; readonly end: () => void } {
  const controller = new AbortController();
  const stopFor = (reason: AbortReason) => controller.abort(reason);
  const look = () => {
    stateOf(queue, record.id).then((now) => {
      // Gone, ended or taken up by another node, which thought this one dead.
      if (now?.attempt !== record.attempt || now.finished_at !== null) stopFor("lost");
      else if (now.cancel_requested === true) stopFor("canceled");
    }, onError);
  };
  const touch = () => {
    queue.boss.touch(queueName(record.job.model), attempt).catch(onError);
  };
  const giveBack = () => stopFor("handed back");

  const offCancel = queue.signals.on(`cancel:${record.id}`, look);
  const timers = [setInterval(look, lookMilliseconds), setInterval(touch, touchMilliseconds)];
  const timeout = setTimeout(() => stopFor("timeout"), timeoutSeconds * 1000);
  handBack.addEventListener("abort", giveBack, { once: true });
  if (handBack.aborted) giveBack();
  return {
    signal: controller.signal,
    end() {
      offCancel();
      for (const timer of timers) clearInterval(timer);
      clearTimeout(timeout);
      handBack.removeEventListener("abort", giveBack);
    },
  };
}

/** What changes while a run goes on: not the job, which may be a megabyte. */
async function stateOf({ database }: Queue, id: string) {
  const [row] = await database.query(
    "SELECT attempt, finished_at, cancel_requested FROM retake.request WHERE id = $1",
    [id],
  );
  return row;
}
