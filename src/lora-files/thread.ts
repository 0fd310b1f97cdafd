import { Worker } from "node:worker_threads";
import { CanceledError, InputError } from "../errors.ts";
import { entryBeside } from "../paths.ts";

/** What a thread here says at its end. */
export type ThreadAnswer<Answer> =
  | { readonly answer: Answer }
  /** What it was given can't be used, and why. */
  | { readonly refusal: string };

interface Reading {
  /** Of the module that the thread runs, in this folder. */
  readonly entry: "describe-thread" | "job-thread" | "explain-thread";
  /** What is read, to be said in messages. */
  readonly what: string;
  readonly signal: AbortSignal;
}

const longestMilliseconds = 300_000;
/** Of what a file becomes in memory; a LoRA's header takes some dozen. Values are not counted. */
const mostMegabytes = 1024;

/**
 * Reads what a stranger made, in a thread of its own: clients of this one wait
 * for milliseconds. The thread ends with the signal.
 *
 * @throws InputError if it can't be used, CanceledError at the signal
 */
export function readInThread<Answer>(
  task: object,
  { entry, what, signal }: Reading,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(new CanceledError());
    const thread = new Worker(entryBeside(import.meta.url, entry), {
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
      end(new InputError(`${what} takes longer than ${seconds} seconds to be read.`));
    }, longestMilliseconds);
    const cancel = () => end(new CanceledError());
    signal.addEventListener("abort", cancel);
    thread.once("message", (said: ThreadAnswer<Answer>) => {
      if ("refusal" in said) reject(new InputError(said.refusal));
      else resolve(said.answer);
    });
    thread.once("error", (error: Error & { code?: string }) => {
      const full = error.code === "ERR_WORKER_OUT_OF_MEMORY";
      const message = `${what} needs more memory than is allowed to read it.`;
      reject(full ? new InputError(message, { cause: error }) : error);
    });
    thread.once("exit", () => {
      clearTimeout(late);
      signal.removeEventListener("abort", cancel);
      reject(new Error("a thread that reads files ended without an answer"));
    });
  });
}
