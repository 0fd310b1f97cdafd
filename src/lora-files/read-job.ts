import type { PlanOptions } from "../preview/plan.ts";
import type { JobsQuery, ListedJob } from "./list-jobs.ts";
import { readInThread } from "./thread.ts";
import { jobReads } from "./turns.ts";

/** What the thread that reads job folders is given. `shown` stands for the path in messages. */
export type JobTask =
  | { readonly read: "list"; readonly query: JobsQuery }
  | { readonly read: "config"; readonly path: string; readonly shown: string }
  | {
      readonly read: "folder";
      readonly path: string;
      readonly shown: string;
      readonly options: PlanOptions;
    };

/** What is known of a job folder before anything of it is drawn. */
interface JobFacts {
  /** Id of the model that it trained. */
  readonly model: string;
  /** That are asked for. */
  readonly previews: number;
}

export interface JobAnswers {
  readonly list: readonly ListedJob[];
  /** Id of the model that it names. */
  readonly config: string;
  readonly folder: JobFacts;
}

interface Asking {
  readonly client: string;
  readonly signal: AbortSignal;
}

/** The job folders below the LoRA folder. @throws InputError if there is too much to look at, CanceledError */
export function listJobsInThread(query: JobsQuery, asking: Asking) {
  return read("list", { read: "list", query }, "The server's LoRA folder", asking);
}

/** The model that a configuration names. @throws InputError if it is none, CanceledError at the signal */
export function readConfigInThread(path: string, shown: string, asking: Asking) {
  return read("config", { read: "config", path, shown }, shown, asking);
}

/** What a job folder holds of what is asked for. @throws InputError if it is none, CanceledError at the signal */
export function readJobInThread(
  { path, shown, options }: Omit<Extract<JobTask, { read: "folder" }>, "read">,
  asking: Asking,
) {
  return read("folder", { read: "folder", path, shown, options }, shown, asking);
}

function read<Kind extends keyof JobAnswers>(
  _kind: Kind,
  task: JobTask,
  what: string,
  { client, signal }: Asking,
): Promise<JobAnswers[Kind]> {
  return jobReads.run(client, signal, () =>
    readInThread(task, { entry: "job-thread", what, signal }),
  );
}
