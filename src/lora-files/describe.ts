import { Worker } from "node:worker_threads";
import { InputError } from "../errors.ts";
import type { LoraDescription } from "../lora/describe.ts";
import { entryBeside } from "../paths.ts";
import type { LoraFacts } from "../wire/lora-answers.ts";

/** What the thread answers. */
export type Described =
  | { readonly description: LoraDescription }
  /** The file can't be used, and why. */
  | { readonly refusal: string };

const longestMilliseconds = 300_000;
/** Of what a header becomes in memory; a LoRA's takes some dozen. Values are not counted. */
const mostMegabytes = 1024;

/** One at a time: each reads a whole file. */
let turn: Promise<unknown> = Promise.resolve();

/**
 * What a LoRA file is, found out in a thread of its own: a header may have a
 * hundred megabytes, and clients wait for milliseconds.
 *
 * @param shown stands for the file's path in messages; the path is in no description
 * @throws InputError if it is no LoRA
 */
export function describeInThread(file: string, shown: string): Promise<LoraFacts> {
  const described = turn.then(() => describe(file));
  turn = described.catch(() => {});
  return described.then((answer) => {
    if ("refusal" in answer) throw new InputError(answer.refusal.replaceAll(file, shown));
    const { file: _, ...description } = answer.description;
    return description;
  });
}

function describe(file: string): Promise<Described> {
  return new Promise((resolve, reject) => {
    const thread = new Worker(entryBeside(import.meta.url, "describe-thread"), {
      workerData: file,
      // The server's secrets are none of its business.
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: mostMegabytes },
    });
    const late = setTimeout(() => {
      const seconds = longestMilliseconds / 1000;
      reject(new InputError(`The LoRA takes longer than ${seconds} seconds to be read.`));
      void thread.terminate();
    }, longestMilliseconds);
    thread.once("message", resolve);
    thread.once("error", (error: Error & { code?: string }) => {
      const full = error.code === "ERR_WORKER_OUT_OF_MEMORY";
      const message = "The LoRA's header needs more memory than is allowed to read it.";
      reject(full ? new InputError(message, { cause: error }) : error);
    });
    thread.once("exit", () => {
      clearTimeout(late);
      reject(new Error("the thread that describes a LoRA ended without an answer"));
    });
  });
}
