import { GraphBuilder, noWeights } from "./graph.ts";
import { openSession } from "./session.ts";
import type { Target } from "./target.ts";

/** Larger tensors are tried on no device: what works at once there may take all of its memory. */
const mostTriedBytes = 2 ** 30;
/** Each such byte is written by the processor. */
const mostTriedInSoftware = 2 ** 28;
/** What WebGPU promises of every device. */
const leastTriedBytes = 2 ** 27;

/**
 * Bytes of the largest tensor that an operator with three of them was seen to take. No call of the
 * runtime tells the device's limits, and it takes several bindings for a tensor above one's limit,
 * as far as there are bindings.
 */
export async function largestBuffer(
  target: Target,
  isSoftware: boolean | null,
): Promise<number | null> {
  if (target.device === "cuda") return null;
  const most = isSoftware === true ? mostTriedInSoftware : mostTriedBytes;
  for (let bytes = most; bytes >= leastTriedBytes; bytes /= 2) {
    if (await adds(bytes, target).catch(() => false)) return bytes;
  }
  return leastTriedBytes;
}

/** Whether ones in a tensor of that size and ones in another are twos. @throws DeviceError if the device can't be opened */
export async function adds(bytes: number, target: Target): Promise<boolean> {
  const count = bytes / 4;
  const graph = new GraphBuilder("probe", noWeights, target);
  const ones = graph.op("Expand", [graph.input("x", "f32", [1]), graph.ints([count])]);
  const twos = graph.op("Add", [ones, ones]);
  const at = (i: number) => graph.op("Slice", [twos, graph.ints([i]), graph.ints([i + 1])]);
  graph.output("y", "f32", [2], graph.op("Concat", [at(0), at(count - 1)], { axis: 0 }));
  const session = await openSession(graph.finish(), target);
  try {
    const { y } = await session.run({ x: { data: new Float32Array([1]), shape: [1] } });
    return y?.data.every((value) => value === 2) === true;
  } finally {
    await session.release();
  }
}
