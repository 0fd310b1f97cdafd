import { devices } from "../config/model-options.ts";
import { messageOf } from "../errors.ts";
import { GraphBuilder, noWeights } from "./graph.ts";
import { openSession } from "./session.ts";
import { targetFor } from "./target.ts";

// A process of its own for each device: a driver may end its process, and
// writes what it likes. Prints why the device can't be used; nothing if it can.

const device = devices.find((name) => name === process.argv[2]);
if (device === undefined) throw new Error(`no device ${process.argv[2]}`);
const target = await targetFor(device);
const graph = new GraphBuilder("probe", noWeights, target);
const x = graph.input("x", "f32", [1]);
graph.output("y", "f32", [1], graph.op("Add", [x, graph.floats([1])]));
try {
  const session = await openSession(graph.finish(), target);
  const { y } = await session.run({ x: { data: new Float32Array([1]), shape: [1] } });
  await session.release();
  if (y?.data[0] !== 2) process.stdout.write(`it says that 1 + 1 is ${y?.data[0]}`);
} catch (error) {
  process.stdout.write(messageOf(error));
}
