import { InputError } from "../errors.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { firstNonFinite } from "../tensor/tensor.ts";
import { readF32 } from "../weights/safetensors.ts";
import type { LoraFile } from "./file.ts";

/** One module's values: loraA [rank, in], loraB [out, rank], f32. */
export interface AdapterValues {
  readonly loraA: Tensor;
  readonly loraB: Tensor;
  /** alpha/rank; 1 where neither tensors nor header have an alpha, whatever the ranks of other modules. */
  readonly scale: number;
}

/** @throws InputError naming the tensor that holds NaN or infinity, or an alpha that isn't above 0 */
export async function loadAdapter(lora: LoraFile): Promise<Map<string, AdapterValues>> {
  const adapter = new Map<string, AdapterValues>();
  for (const [name, { rank, alpha, headerScale, loraA, loraB }] of lora.modules) {
    const alphaScale = alpha === null ? 1 : (await readAlpha(lora, `${name}.alpha`, alpha)) / rank;
    adapter.set(name, {
      loraA: await readFinite(lora, `${name}.lora_A`, loraA),
      loraB: await readFinite(lora, `${name}.lora_B`, loraB),
      scale: headerScale * alphaScale,
    });
  }
  return adapter;
}

/** diffusers 0.42.1 never ends loading an alpha below 0; with 0 the LoRA would do nothing. */
async function readAlpha(lora: LoraFile, name: string, span: WeightSpan): Promise<number> {
  const { data } = await readFinite(lora, name, span);
  const alpha = data[0]!;
  if (alpha > 0) return alpha;
  throw new InputError(
    `${lora.file} can't act: ${name} is ${alpha}, and an alpha is above 0. Save it again in the trainer.`,
  );
}

async function readFinite(lora: LoraFile, name: string, span: WeightSpan): Promise<Tensor> {
  const values = await readF32(span);
  const index = firstNonFinite(values.data);
  if (index !== -1) {
    throw new InputError(
      `${lora.file} is damaged: ${name} is ${values.data[index]} at element ${index}. ` +
        "Its training diverged: use an earlier save.",
    );
  }
  return values;
}
