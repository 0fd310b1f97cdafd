import type { FastifyInstance, FastifyRequest } from "fastify";
import type { FieldError } from "../wire/fields.ts";
import type { JsonValue } from "../wire/python-json.ts";
import { JsonSyntaxError, parsePythonJson } from "../wire/python-json.ts";

/** A body that can't be read at all: status and body of the answer. */
export class BodyError extends Error {
  override readonly name = "BodyError";
  readonly status: number;
  readonly detail: string | readonly FieldError[];

  constructor(status: number, detail: string | readonly FieldError[]) {
    super("the body can't be read");
    this.status = status;
    this.detail = detail;
  }
}

/** What the body of a JSON request is sent as. */
export const jsonType: RegExp = /^application\/(?:[^;\s]*\+)?json(?:\s*;|\s*$)/i;

declare module "fastify" {
  interface FastifyRequest {
    /** The Content-Type that the client sent, sense or not. */
    sentType: string;
  }
}

/** Every body is taken as bytes: what they mean is decided by `readJsonBody`, as FastAPI does. */
export function takeBodiesAsBytes(app: FastifyInstance): void {
  app.decorateRequest("sentType", "");
  app.addHook("onRequest", async (request) => {
    request.sentType = request.headers["content-type"] ?? "";
    // Fastify refuses a type that is none before anybody can read the body.
    request.headers["content-type"] = "application/octet-stream";
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_, bytes, done) => done(null, bytes));
}

/**
 * A body as the reference's framework reads it: what isn't sent as JSON is a
 * text, which no request is; text that is no JSON says where it stops being it.
 *
 * @throws BodyError
 */
export function readJsonBody(request: FastifyRequest): JsonValue {
  const bytes = request.body;
  if (!Buffer.isBuffer(bytes) || bytes.length === 0) return missingBody();
  const isJson = jsonType.test(request.sentType);
  let text: string;
  try {
    text = new TextDecoder(encodingOf(bytes), { fatal: true }).decode(bytes);
  } catch {
    throw unreadable();
  }
  if (!isJson) return text;
  try {
    const value = parsePythonJson(text);
    return value === null ? missingBody() : value;
  } catch (error) {
    if (error instanceof RangeError) throw unreadable();
    if (!(error instanceof JsonSyntaxError)) throw error;
    throw new BodyError(422, [
      {
        type: "json_invalid",
        loc: ["body", error.offset],
        msg: "JSON decode error",
        input: {},
        ctx: { error: error.message },
      },
    ]);
  }
}

function unreadable(): BodyError {
  return new BodyError(400, "There was an error parsing the body");
}

/** Python's `json` takes UTF-16 too, and tells it by its mark or by where the zeros are. */
function encodingOf(bytes: Buffer): string {
  const [first, second] = bytes;
  if (first === 0xff && second === 0xfe) return "utf-16le";
  if (first === 0xfe && second === 0xff) return "utf-16be";
  if (bytes.length < 4 && bytes.length !== 2) return "utf-8";
  if (first === 0 && second !== 0) return "utf-16be";
  return first !== 0 && second === 0 ? "utf-16le" : "utf-8";
}

/** @throws BodyError as for a body that is not there */
export function missingBody(): never {
  throw new BodyError(422, [
    { type: "missing", loc: ["body"], msg: "Field required", input: null },
  ]);
}
