import { realpath } from "node:fs/promises";
import { dirname, sep } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { InputError } from "../errors.ts";
import { placesOf } from "../lora/places.ts";
import { sizeOf } from "../tensor/tensor.ts";
import { loraLimits } from "../weights/header-limits.ts";
import { readSafetensors } from "../weights/safetensors.ts";
import type { LoraFacts } from "../wire/lora-answers.ts";
import type { DescribeTask } from "./describe.ts";
import type { ThreadAnswer } from "./thread.ts";

/** The largest matrix of the models here has 40 million values: what has more is made to fill memory. */
const mostValues = 2 ** 28;

/** Names come from files, and into messages. */
const longestMessage = 4000;

async function answer({
  file,
  shown,
  describe,
}: DescribeTask): Promise<ThreadAnswer<LoraFacts | null>> {
  try {
    const { tensors } = await readSafetensors(placesOf(file).weights, loraLimits);
    if (!describe) return { answer: null };
    for (const [name, { shape }] of tensors) {
      if (sizeOf(shape) <= mostValues) continue;
      throw new InputError(
        `${file} can't be used as a LoRA: ${name} has the shape [${shape}], larger than any matrix of a model here.`,
      );
    }
    // The engine that measures strengths takes a while to load.
    const { describeLora } = await import("../lora/describe.ts");
    const { file: _, ...description } = await describeLora(file);
    return { answer: description };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    let refusal = error.message;
    for (const path of [file, await realpath(file).catch(() => file)])
      refusal = refusal.replaceAll(path, shown).replaceAll(dirname(path) + sep, "");
    return { refusal: refusal.slice(0, longestMessage) };
  }
}

// The one who started this thread gives it a task.
parentPort?.postMessage(await answer(workerData as DescribeTask));
