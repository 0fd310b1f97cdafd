import type { Logger } from "pino";
import type { RunObserver } from "../queue/run-workers.ts";
import { JobError } from "../schema/job-error.ts";
import type { Metrics } from "./metrics.ts";

/** Runs as log lines and metrics. */
export function observe(metrics: Metrics, log: Logger): RunObserver {
  const lastStep = new Map<string, number>();
  return {
    started(record) {
      metrics.started(record);
      log.info({ request_id: record.id, model: record.job.model, run: record.attempt }, "started");
    },
    event({ id, job }, event) {
      if (event.type !== "progress") return;
      const now = performance.now();
      const before = lastStep.get(id);
      if (before !== undefined) metrics.stepped(job.model, (now - before) / 1000);
      lastStep.set(id, now);
    },
    ended({ id, job }, seconds, outcome) {
      lastStep.delete(id);
      const failed = outcome instanceof Error;
      const code = !failed ? "" : outcome instanceof JobError ? outcome.failure.code : "INTERNAL";
      const { pipeline_details: details } = failed ? {} : outcome.timings;
      const action =
        typeof details === "object" && details !== null && "cache_action" in details
          ? String(details.cache_action)
          : undefined;
      metrics.ran(job.model, seconds, action);
      metrics.ended(job.model, failed ? "failed" : "succeeded", code);
      const fields = { request_id: id, model: job.model, seconds, code };
      if (failed) log.warn({ ...fields, error: outcome.message }, "run ended without a result");
      else log.info(fields, "succeeded");
    },
  };
}
