import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as ort from "onnxruntime-node";

/** What the runtime's profile says of one run of a session. */
export interface Profiled {
  readonly nodesOnDevice: number;
  /** Of the operators that ran on the CPU: how many, and the bytes of the largest result. */
  readonly onCpu: Readonly<Record<string, { count: number; largestBytes: number }>>;
  /** Bytes that copies between the device and our memory moved inside of the graph. */
  readonly copiedBytes: number;
}

interface Event {
  readonly cat: string;
  readonly name: string;
  readonly args: {
    readonly provider?: string;
    readonly op_name: string;
    readonly output_size?: string;
    readonly node_index: string;
  };
}

const copies = ["MemcpyFromHost", "MemcpyToHost"];

/**
 * Lets the runtime profile each session, from now on, that takes the input.
 *
 * @returns what it wrote of the last run of each; call it while the sessions are open
 */
export function profileSessionsWith(input: string): () => Profiled[] {
  const folder = mkdtempSync(join(tmpdir(), "retake-profile-"));
  const sessions: ort.InferenceSession[] = [];
  const runtime = ort.InferenceSession as {
    create(bytes: Uint8Array, options: object): Promise<ort.InferenceSession>;
  };
  const create = runtime.create.bind(runtime);
  runtime.create = async (bytes, options) => {
    if (!Buffer.from(bytes).includes(input)) return create(bytes, options);
    const profileFilePrefix = join(folder, String(sessions.length));
    const session = await create(bytes, { ...options, enableProfiling: true, profileFilePrefix });
    sessions.push(session);
    return session;
  };
  return () => {
    for (const session of sessions) session.endProfiling();
    const files = readdirSync(folder).toSorted(
      (a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10),
    );
    const profiled = files.map((file) =>
      lastRun(JSON.parse(readFileSync(join(folder, file), "utf8"))),
    );
    rmSync(folder, { recursive: true });
    return profiled;
  };
}

function lastRun(events: readonly Event[]): Profiled {
  const nodes = events.filter(({ cat, name }) => cat === "Node" && name.endsWith("_kernel_time"));
  // The runs stand one after another, with the same nodes.
  const each = new Set(nodes.map(({ args }) => args.node_index)).size;
  const last = nodes.slice(-each);
  const onCpu: Record<string, { count: number; largestBytes: number }> = {};
  let [nodesOnDevice, copiedBytes] = [0, 0];
  for (const { args } of last) {
    const bytes = Number(args.output_size ?? 0);
    if (copies.includes(args.op_name)) copiedBytes += bytes;
    else if (args.provider !== "CPUExecutionProvider") nodesOnDevice += 1;
    else {
      const { count, largestBytes } = onCpu[args.op_name] ?? { count: 0, largestBytes: 0 };
      onCpu[args.op_name] = { count: count + 1, largestBytes: Math.max(largestBytes, bytes) };
    }
  }
  return { nodesOnDevice, onCpu, copiedBytes };
}
