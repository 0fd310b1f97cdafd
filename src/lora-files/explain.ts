import type { GenerateRequest } from "../job/request.ts";
import type { NamedLora } from "../preview/explain-lora.ts";
import type { Explanations } from "../wire/explain-answers.ts";
import { readInThread } from "./thread.ts";
import { explainings } from "./turns.ts";

/** What a client wants explained. */
export type ExplainTask = {
  readonly weights: string;
} & (
  | {
      /** The prompts of a request; its LoRAs were found already. */
      readonly read: "requests";
      readonly model: string;
      readonly requests: readonly GenerateRequest[];
      readonly loras: readonly NamedLora[];
      readonly asTrained: boolean;
    }
  | {
      /** A picture or another file that states a request. */
      readonly read: "file";
      readonly bytes: Uint8Array;
      readonly sample: number | undefined;
      /** In place of the one that the file names. */
      readonly model: string | undefined;
      /** Where its LoRAs are looked for by their names. */
      readonly loraFolder: string;
    }
);

interface Asking {
  readonly client: string;
  readonly signal: AbortSignal;
}

/** Explains in a thread of its own. @throws InputError if it can't, CanceledError at the signal */
export function explainInThread(
  task: ExplainTask,
  { client, signal }: Asking,
): Promise<Explanations> {
  return explainings.run(client, signal, () =>
    readInThread(task, { entry: "explain-thread", what: "The file", signal }),
  );
}
