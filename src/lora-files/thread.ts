import { Worker } from "node:worker_threads";
import { CanceledError, InputError } from "../errors.ts";
import { entryBeside } from "../paths.ts";
import type { LoraFacts } from "../wire/lora-answers.ts";

export interface ThreadTask {
  readonly file: string;
  /** Stands for the file's path in messages. */
  readonly shown: string;
  /** False: only whether it is whole, as far as its header says. */
  readonly describe: boolean;
}

export type ThreadAnswer =
  | { readonly description: LoraFacts | null }
  /** The file can't be used, and why. */
  | { readonly refusal: string };

const longestMilliseconds = 300_000;
/** Of what a header becomes in memory; a LoRA's takes some dozen. Values are not counted. */
const mostMegabytes = 1024;

/**
 * Reads a file that a stranger made, in a thread of its own: clients of this
 * one wait for milliseconds. The thread ends with the signal.
 *
 * @throws InputError if it is no LoRA, CanceledError at the signal
 */
export function readInThread(task: ThreadTask, signal: AbortSignal): Promise<LoraFacts | null> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(new CanceledError());
    const thread = new Worker(entryBeside(import.meta.url, "describe-thread"), {
      workerData: task,
      // The server's secrets are none of its business.
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: mostMegabytes },
    });
    const end = (error: Error) => {
      reject(error);
      void thread.terminate();
    };
    const late = setTimeout(() => {
      const seconds = longestMilliseconds / 1000;
      end(new InputError(`The LoRA takes longer than ${seconds} seconds to be read.`));
    }, longestMilliseconds);
    const cancel = () => end(new CanceledError());
    signal.addEventListener("abort", cancel);
    thread.once("message", (answer: ThreadAnswer) => {
      if ("refusal" in answer) reject(new InputError(answer.refusal));
      else resolve(answer.description);
    });
    thread.once("error", (error: Error & { code?: string }) => {
      const full = error.code === "ERR_WORKER_OUT_OF_MEMORY";
      const message = "The LoRA's header needs more memory than is allowed to read it.";
      reject(full ? new InputError(message, { cause: error }) : error);
    });
    thread.once("exit", () => {
      clearTimeout(late);
      signal.removeEventListener("abort", cancel);
      reject(new Error("the thread that reads a LoRA ended without an answer"));
    });
  });
}
