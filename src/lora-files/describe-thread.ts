import { parentPort, workerData } from "node:worker_threads";
import { InputError } from "../errors.ts";
import { describeLora } from "../lora/describe.ts";
import { sizeOf } from "../tensor/tensor.ts";
import { readSafetensors } from "../weights/safetensors.ts";
import type { Described } from "./describe.ts";

/** The largest matrix of the models here has 40 million values: what has more is made to fill memory. */
const mostValues = 2 ** 28;

async function answer(file: string): Promise<Described> {
  try {
    const { tensors } = await readSafetensors(file);
    for (const [name, { shape }] of tensors) {
      if (sizeOf(shape) <= mostValues) continue;
      throw new InputError(
        `${file} can't be used as a LoRA: ${name} has the shape [${shape}], larger than any matrix of a model here.`,
      );
    }
    return { description: await describeLora(file) };
  } catch (error) {
    if (error instanceof InputError) return { refusal: error.message };
    throw error;
  }
}

parentPort?.postMessage(await answer(String(workerData)));
