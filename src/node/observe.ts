import type { Logger } from "pino";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { JobError, jobStates } from "../job/job.ts";
import type { Queue } from "../queue/queue.ts";
import type { RequestRecord } from "../queue/record.ts";
import type { RunObserver } from "./run-workers.ts";

/** What Prometheus is told. */
export class Metrics {
  readonly registry = new Registry();
  readonly #http = new Histogram({
    name: "retake_http_request_seconds",
    help: "Time to answer, by route",
    labelNames: ["method", "route", "status"],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5],
    registers: [this.registry],
  });
  readonly #accepted = new Counter({
    name: "retake_requests_accepted_total",
    help: "Requests taken into the queue",
    labelNames: ["model"],
    registers: [this.registry],
  });
  readonly #ended = new Counter({
    name: "retake_requests_ended_total",
    help: "Requests that came to their end on this node, by state and error code",
    labelNames: ["model", "state", "code"],
    registers: [this.registry],
  });
  readonly #wait = new Histogram({
    name: "retake_queue_wait_seconds",
    help: "From acceptance to start",
    buckets: [0.1, 0.5, 1, 5, 15, 60, 300, 1800],
    registers: [this.registry],
  });
  readonly #run = new Histogram({
    name: "retake_run_seconds",
    help: "From start to end of one run",
    labelNames: ["model"],
    buckets: [0.1, 0.5, 1, 5, 15, 60, 300, 1800],
    registers: [this.registry],
  });
  readonly #step = new Histogram({
    name: "retake_step_seconds",
    help: "Time of a denoising step",
    labelNames: ["model"],
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300],
    registers: [this.registry],
  });
  readonly #pipeline = new Counter({
    name: "retake_pipeline_uses_total",
    help: "What runs found loaded, in the words of metadata.timings",
    labelNames: ["action"],
    registers: [this.registry],
  });

  constructor(queue: Queue) {
    collectDefaultMetrics({ register: this.registry });
    new Gauge({
      name: "retake_requests",
      help: "Requests in each state, on all nodes",
      labelNames: ["state"],
      registers: [this.registry],
      async collect() {
        const { states } = await queue.counts();
        for (const state of jobStates) this.set({ state }, states.get(state) ?? 0);
      },
    });
    new Gauge({
      name: "retake_queue_oldest_seconds",
      help: "How long the oldest waiting request has waited",
      registers: [this.registry],
      async collect() {
        this.set((await queue.counts()).oldestWaitSeconds);
      },
    });
  }

  observeRequest(method: string, route: string, status: number, seconds: number): void {
    this.#http.observe({ method, route, status }, seconds);
  }

  accepted(model: string): void {
    this.#accepted.inc({ model });
  }

  started({ created_at }: RequestRecord): void {
    this.#wait.observe(Math.max(0, (Date.now() - created_at.getTime()) / 1000));
  }

  ran(model: string, seconds: number, action: string | undefined): void {
    this.#run.observe({ model }, seconds);
    if (action !== undefined) this.#pipeline.inc({ action });
  }

  stepped(model: string, seconds: number): void {
    this.#step.observe({ model }, seconds);
  }

  ended(model: string, state: string, code: string): void {
    this.#ended.inc({ model, state, code });
  }
}

/** Runs as log lines and metrics. */
export function observe(metrics: Metrics, log: Logger): RunObserver {
  const lastStep = new Map<string, number>();
  return {
    started(record) {
      metrics.started(record);
      log.info({ request_id: record.id, model: record.job.model, run: record.attempt }, "started");
    },
    event({ id, job }, event) {
      // A retake without steps tells that a picture is done.
      if (event.type !== "progress" || event.step === 0) return;
      const now = performance.now();
      const before = lastStep.get(id);
      if (before !== undefined) metrics.stepped(job.model, (now - before) / 1000);
      lastStep.set(id, now);
    },
    unavailable(ids, model, { code }) {
      for (const id of ids) {
        metrics.ended(model, "failed", code);
        log.warn({ request_id: id, model, code }, "failed: its model can't be had");
      }
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
