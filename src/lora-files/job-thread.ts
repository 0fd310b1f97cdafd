import { realpath } from "node:fs/promises";
import { parentPort, workerData } from "node:worker_threads";
import { InputError } from "../errors.ts";
import { withoutPaths } from "../files/without-paths.ts";
import { baseModelOf } from "../preview/base-model.ts";
import { readConfigFile, readJobFolder } from "../preview/job-folder.ts";
import { planRetakes } from "../preview/plan.ts";
import { listJobs } from "./list-jobs.ts";
import type { JobAnswers, JobTask } from "./read-job.ts";
import type { ThreadAnswer } from "./thread.ts";

async function answer(task: JobTask): Promise<ThreadAnswer<JobAnswers[keyof JobAnswers]>> {
  try {
    if (task.read === "list") return { answer: await listJobs(task.query) };
    // None of this process's variables stands for ${VAR} in a stranger's file.
    const environment = {};
    if (task.read === "config") {
      const config = await readConfigFile(task.path, environment, task.shown);
      return { answer: baseModelOf(config).id };
    }
    const job = await readJobFolder(task.path, { environment });
    const { model, samples } = planRetakes(job, task.options);
    return { answer: { model: model.id, previews: samples.length } };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const names = new Map<string, string>();
    if (task.read !== "list") {
      for (const path of [task.path, await realpath(task.path).catch(() => task.path)])
        names.set(path, task.shown);
    }
    return { refusal: withoutPaths(error.message, names) };
  }
}

// The one who started this thread gives it a task.
parentPort?.postMessage(await answer(workerData as JobTask));
