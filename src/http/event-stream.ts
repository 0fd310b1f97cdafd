import type { JobEvent } from "../job/job.ts";
import { seedOfText } from "../job/seed.ts";
import type { Queue } from "../queue/queue.ts";
import { writeJson } from "../wire/python-json.ts";
import type { Place } from "./render.ts";

interface Stream {
  /** Id of the last event that the client has. */
  readonly after: number;
  readonly place: Place;
  /** The client is gone, or the server stops. */
  readonly signal: AbortSignal;
}

/** Proxies close connections that say nothing. */
const silenceMilliseconds = 15_000;

/** A request's events as text/event-stream; the ids let a client go on where it was cut off. */
export async function* eventStream(
  queue: Queue,
  id: string,
  { after, place, signal }: Stream,
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
    yield `id: ${number}\nevent: ${event.type}\ndata: ${writeJson(dataOf(id, event, place))}\n\n`;
    next = events.next();
  }
}

function silence(): Promise<"silence"> {
  return new Promise((done) => setTimeout(done, silenceMilliseconds, "silence").unref());
}

/** In the wire's names. */
function dataOf(id: string, event: JobEvent, { baseUrl }: Place): object {
  const urlOf = (file: string) => `${baseUrl}/v1/requests/${id}/files/${file}`;
  switch (event.type) {
    case "state":
      return { request_id: id, status: event.state };
    case "progress":
      return {
        request_id: id,
        prompt_index: event.promptIndex,
        step: event.step,
        total: event.total,
        seconds_left: event.secondsLeft,
      };
    case "preview":
      return {
        request_id: id,
        prompt_index: event.promptIndex,
        step: event.step,
        url: urlOf(event.file),
      };
    case "image":
      return {
        request_id: id,
        prompt_index: event.image.promptIndex,
        seed: seedOfText(event.image.seed),
        url: urlOf(event.image.file),
      };
  }
}
