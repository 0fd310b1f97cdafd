export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** JSON as it parses, anything else as text. */
  // biome-ignore lint/suspicious/noExplicitAny: an answer of any shape
  readonly body: any;
}

export interface Call {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly payload: string | Buffer | undefined;
}

/** What tests ask a server, wherever it runs. */
export abstract class Caller {
  protected abstract send(
    call: Call,
  ): Promise<{ readonly status: number; readonly headers: Headers; readonly text: string }>;

  /** Sends JSON, or bytes as they are, or nothing; answers with status and parsed body. */
  async call(
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer> {
    const isJson = body !== undefined && !Buffer.isBuffer(body);
    const answer = await this.send({
      method,
      path,
      headers: isJson ? { "content-type": "application/json", ...headers } : headers,
      payload: isJson ? JSON.stringify(body) : body,
    });
    const says = answer.headers.get("content-type")?.includes("json") === true;
    return { ...answer, body: says ? JSON.parse(answer.text) : answer.text };
  }

  /** Waits until a request has ended; answers with its result. @throws Error if it doesn't end */
  async ended(id: string, seconds = 100) {
    const until = performance.now() + seconds * 1000;
    while (performance.now() < until) {
      const { body } = await this.call("GET", `/v1/requests/${id}/result`);
      if (["succeeded", "failed", "canceled"].includes(body.status)) return body;
      await new Promise((done) => setTimeout(done, 30));
    }
    throw new Error(`request ${id} did not end`);
  }
}

/** A request that takes a moment: a picture of the demonstration checkpoint. */
export function demoRequest(fields: object = {}, prompt: object = {}) {
  return {
    model: "zimage_turbo",
    loras: [{ path: "zorple.safetensors" }],
    prompts: [
      { prompt: "a red circle on blue", width: 64, height: 64, sample_steps: 3, ...prompt },
    ],
    ...fields,
  };
}
