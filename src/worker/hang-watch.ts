import { readFile } from "node:fs/promises";

/** Signs of life of a process: its messages, and its use of a processor. A slow step uses one all the time. */
export class HangWatch {
  readonly #timer: NodeJS.Timeout;
  #lastSign = performance.now();
  #lastTime = -1;

  /** @param onHang called once nothing was seen for `hangMs` */
  constructor(
    pid: number,
    { hangMs, watchMs }: { hangMs: number; watchMs: number },
    onHang: () => void,
  ) {
    this.#timer = setInterval(() => {
      processorTime(pid).then(
        (time) => {
          // Where the system doesn't tell, only the request's own time limit ends a hang.
          if (time === undefined || time > this.#lastTime + 1) this.sign();
          this.#lastTime = time ?? this.#lastTime;
          if (performance.now() - this.#lastSign > hangMs) onHang();
        },
        () => {},
      );
    }, watchMs);
  }

  sign(): void {
    this.#lastSign = performance.now();
  }

  end(): void {
    clearInterval(this.#timer);
  }
}

/** Processor time of all threads in ticks, where /proc tells it. */
async function processorTime(pid: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  // Fields 14 and 15 of proc_pid_stat(5); the name, field 2, may hold spaces and ends at the last parenthesis.
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ");
  return fields === undefined ? undefined : Number(fields[11]) + Number(fields[12]);
}
