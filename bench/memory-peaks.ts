import { readFileSync } from "node:fs";
import { isMainThread, Worker, workerData } from "node:worker_threads";

/** A process's memory in MiB: its own, what it shares (lavapipe's device memory), and mapped files. */
export interface Memory {
  readonly own: number;
  readonly shared: number;
  readonly files: number;
}

const parts = ["own", "shared", "files"] as const;
const lines = { own: "RssAnon", shared: "RssShmem", files: "RssFile" } as const;

export function memoryNow(): Memory {
  const status = readFileSync("/proc/self/status", "utf8");
  const mebibytes = (line: string) =>
    Math.round(Number(new RegExp(`${line}:\\s+(\\d+)`).exec(status)?.[1]) / 1024);
  return {
    own: mebibytes(lines.own),
    shared: mebibytes(lines.shared),
    files: mebibytes(lines.files),
  };
}

/** Largest memory between two calls, looked at all the time by a thread: a run blocks this one. */
export function watchMemory(): { takePeaks(): Memory; end(): Promise<unknown> } {
  const peaks = new Float64Array(new SharedArrayBuffer(8 * parts.length));
  const worker = new Worker(new URL(import.meta.url), { workerData: peaks });
  return {
    takePeaks() {
      const now = memoryNow();
      const [own, shared, files] = parts.map((part, i) => Math.max(peaks[i]!, now[part]));
      peaks.fill(0);
      return { own: own!, shared: shared!, files: files! };
    },
    end: () => worker.terminate(),
  };
}

if (!isMainThread) {
  const peaks = workerData as Float64Array;
  setInterval(() => {
    const now = memoryNow();
    for (const [i, part] of parts.entries()) peaks[i] = Math.max(peaks[i]!, now[part]);
  }, 20);
}
