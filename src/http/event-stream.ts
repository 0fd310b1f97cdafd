import type { Queue } from "../queue/queue.ts";
import type { Links } from "../wire/from-job.ts";
import { eventBody } from "../wire/from-job.ts";
import { writeJson } from "../wire/python-json.ts";

interface Stream {
  /** Id of the last event that the client has. */
  readonly after: number;
  readonly links: Pick<Links, "baseUrl">;
  /** The client is gone, or the server stops. */
  readonly signal: AbortSignal;
}

/** Proxies close connections that say nothing. */
const silenceMilliseconds = 15_000;

/** A request's events as text/event-stream; the ids let a client go on where it was cut off. */
export async function* eventStream(
  queue: Queue,
  id: string,
  { after, links, signal }: Stream,
): AsyncGenerator<string> {
  yield "retry: 1000\n\n";
  const events = queue.events(id, after, signal);
  let next = events.next();
  for (;;) {
    const found = await Promise.race([next, silence()]);
    if (found === "silence") {
      yield ": still here\n\n";
      continue;
    }
    if (found.done === true) return;
    const { id: number, event } = found.value;
    yield `id: ${number}\nevent: ${event.type}\ndata: ${writeJson(eventBody(id, event, links))}\n\n`;
    next = events.next();
  }
}

function silence(): Promise<"silence"> {
  return new Promise((done) => setTimeout(done, silenceMilliseconds, "silence").unref());
}
