import type { FastifyBaseLogger } from "fastify";
import type { Settings } from "../config/settings.ts";
import type { WorkNode } from "../node/node.ts";
import type { Metrics } from "../node/observe.ts";
import type { JobUploads } from "../queue/job-uploads.ts";
import type { Queue } from "../queue/queue.ts";
import type { TokenSeal } from "../queue/token-seal.ts";
import type { Uploads } from "../queue/upload-records.ts";
import type { ResultStore } from "../storage/results.ts";
import type { Links } from "../wire/from-job.ts";
import type { ApiKeys } from "./api-keys.ts";
import type { Arrivals } from "./arrivals.ts";
import type { BodyPace } from "./slow-bodies.ts";

/** What the routes work with; none of them ever touches a model. */
export interface AppContext {
  readonly settings: Settings;
  readonly links: Links;
  readonly queue: Queue;
  readonly results: ResultStore;
  readonly uploads: Uploads;
  readonly jobUploads: JobUploads;
  readonly arrivals: Arrivals;
  readonly seal: TokenSeal;
  /** What keeps the node from serving. */
  readonly notReady: WorkNode["notReady"];
  /** What its workers compute on. */
  readonly devices: WorkNode["devices"];
  /** How they hold a model's weights. */
  readonly storagesOf: WorkNode["storagesOf"];
  /** Undefined lets everybody in. */
  readonly keys: ApiKeys | undefined;
  readonly pace: BodyPace;
  readonly metrics: Metrics;
  readonly log: FastifyBaseLogger;
}
