import type { LoraFacts } from "../wire/lora-answers.ts";
import { readInThread } from "./thread.ts";
import { checks, descriptions } from "./turns.ts";

/** What the thread that reads a LoRA is given. */
export interface DescribeTask {
  readonly file: string;
  /** Stands for the file's path in messages. */
  readonly shown: string;
  /** False: only whether it is whole, as far as its header says. */
  readonly describe: boolean;
}

function readLora(task: DescribeTask, signal: AbortSignal): Promise<LoraFacts | null> {
  return readInThread(task, { entry: "describe-thread", what: "The LoRA's header", signal });
}

interface Asking {
  /** Who waits for no more than one of the descriptions that others asked for. */
  readonly client: string;
  /** When nobody waits for the description any more. */
  readonly signal: AbortSignal;
}

/**
 * What a LoRA file is, found out in a thread of its own.
 *
 * @param shown stands for the file's path in messages
 * @throws InputError if it is no LoRA, CanceledError at the signal
 */
export async function describeInThread(
  file: string,
  shown: string,
  { client, signal }: Asking,
): Promise<LoraFacts> {
  const description = await descriptions.run(client, signal, () =>
    readLora({ file, shown, describe: true }, signal),
  );
  if (description === null) throw new Error("the thread that describes a LoRA did not");
  return description;
}

/**
 * Checks in a thread of its own that a LoRA file is whole, as far as its header says.
 *
 * @param shown stands for the file's path in messages
 * @throws InputError if it is not, CanceledError at the signal
 */
export async function checkInThread(
  file: string,
  shown: string,
  signal: AbortSignal,
): Promise<void> {
  await checks.run("", signal, () => readLora({ file, shown, describe: false }, signal));
}
