import { SpanStatusCode, trace } from "@opentelemetry/api";
import type { JobEvent, JobFailure, JobResult } from "../job/job.ts";
import { picturesOf } from "../job/job.ts";
import { consume } from "../queue/consumer.ts";
import type { Queue } from "../queue/queue.ts";
import type { RequestRecord } from "../queue/record.ts";
import type { WorkerSlot } from "../worker/slot.ts";

/** What a node is told of the runs on it. */
export interface RunObserver {
  started(record: RequestRecord): void;
  event(record: RequestRecord, event: JobEvent): void;
  ended(record: RequestRecord, seconds: number, outcome: JobResult | Error): void;
  /** Requests that waited for a model and failed because it can't be had. */
  unavailable(ids: readonly string[], model: string, failure: JobFailure): void;
}

/** What a job names, on the machine that runs it, until the run ends. */
export interface RunFiles extends AsyncDisposable {
  /** Of its LoRAs in their order; or of its job folder, and a folder to make its report in. */
  readonly paths: readonly string[];
}

export interface WorkersOptions {
  readonly node: string;
  readonly workers: readonly WorkerSlot[];
  readonly timeoutSeconds: number;
  /** Whether requests for a model may be taken now. */
  readonly isReady: (model: string) => Promise<boolean>;
  /** Finds or fetches what a job names, on this machine. @throws JobError */
  readonly findFiles: (record: RequestRecord, signal: AbortSignal) => Promise<RunFiles>;
  /** Refuses what can't run, before anything is loaded. @throws JobError */
  readonly check: (record: RequestRecord) => void;
  readonly observer: RunObserver;
  /** From then on no job is taken. */
  readonly stop: AbortSignal;
  readonly onError: (error: unknown) => void;
}

export interface RunningWorkers {
  /** After `stop`: running jobs get the time to finish, then go back into the queue. */
  end(graceMilliseconds: number): Promise<void>;
}

/** One consumer for each worker process. */
export function runWorkers(queue: Queue, options: WorkersOptions): RunningWorkers {
  const { node, workers, timeoutSeconds, isReady, findFiles, check, observer } = options;
  const { stop, onError } = options;
  const handBack = new AbortController();
  const consumers = workers.map((worker, i) =>
    consume(queue, {
      name: `${node}/${i}`,
      isReady,
      timeoutSeconds,
      stop,
      handBack: handBack.signal,
      onError,
      async run(record, { signal, onEvent }) {
        const startedAt = performance.now();
        // Goes nowhere unless OpenTelemetry is configured.
        const span = trace.getTracer("retake").startSpan("retake.run", {
          attributes: {
            "retake.request_id": record.id,
            "retake.model": record.job.model,
            "retake.kind": record.job.kind,
            "retake.prompts": picturesOf(record.job),
            "retake.run": record.attempt,
          },
        });
        const ended = (outcome: JobResult | Error) => {
          observer.ended(record, (performance.now() - startedAt) / 1000, outcome);
          if (outcome instanceof Error)
            span.setStatus({ code: SpanStatusCode.ERROR, message: outcome.message });
          span.end();
        };
        observer.started(record);
        try {
          check(record);
          await using files = await findFiles(record, signal);
          const result = await worker.run(record.job, files.paths, {
            signal,
            onEvent(event) {
              observer.event(record, event);
              onEvent(event);
            },
          });
          ended(result);
          return result;
        } catch (error) {
          ended(error instanceof Error ? error : new Error(String(error)));
          throw error;
        }
      },
    }),
  );
  return {
    async end(graceMilliseconds) {
      const grace = setTimeout(() => {
        handBack.abort();
        // Another run makes the same pictures: nothing is worth waiting for a step's end.
        for (const worker of workers) worker.stop().catch(onError);
      }, graceMilliseconds);
      await Promise.all(consumers);
      clearTimeout(grace);
      await Promise.all(workers.map((worker) => worker.stop()));
    },
  };
}
