import { Readable } from "node:stream";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { forget } from "../node/retention.ts";
import type { RequestRecord, RequestStatus } from "../queue/record.ts";
import { isFinal } from "../queue/record.ts";
import { readReport } from "../storage/read-report.ts";
import { contentTypeOf } from "../storage/results.ts";
import type { StatusPage } from "../wire/answers.ts";
import { resultBody, statusBody } from "../wire/from-job.ts";
import { ApiError, requestNotFound } from "./api-error.ts";
import { ownerOf } from "./auth.ts";
import type { AppContext } from "./context.ts";
import { eventStream } from "./event-stream.ts";
import { linksFor } from "./links.ts";
import { nextPage, parseQuery, requestIdPattern, requestsQuery } from "./queries.ts";

interface WithId {
  Params: { id: string };
}

/**
 * Everything about requests that were accepted before.
 *
 * @param stopping fires when the server stops: event streams end then
 */
export function addRequestRoutes(
  app: FastifyInstance,
  context: AppContext,
  stopping: AbortSignal,
): void {
  const { queue, results } = context;

  /** How the request stands, or all of it. */
  async function found<Found extends RequestStatus | RequestRecord>(
    request: FastifyRequest<WithId>,
    look: (id: string) => Promise<Found | undefined>,
  ): Promise<Found> {
    const { id } = request.params;
    const record = requestIdPattern.test(id) ? await look(id) : undefined;
    // Somebody else's request is as good as none.
    if (record === undefined || record.owner !== ownerOf(request)) throw requestNotFound(id);
    return record;
  }
  const statusOf = (request: FastifyRequest<WithId>) => found(request, (id) => queue.status(id));
  const recordOf = (request: FastifyRequest<WithId>) => found(request, (id) => queue.get(id));

  app.get<WithId>("/v1/requests/:id/status", async (request) =>
    statusBody(await statusOf(request)),
  );

  app.get<WithId>("/v1/requests/:id/result", async (request) => {
    const record = await recordOf(request);
    const report = isFinal(record) ? await readReport(record.job, results) : null;
    return resultBody(record, linksFor(request, context), report);
  });

  app.get("/v1/requests", async (request) => {
    const { status: state, model, kind, limit, after } = parseQuery(requestsQuery, request.query);
    const owner = ownerOf(request);
    const records = await queue.list({ owner, state, model, kind, after, limit });
    const page: StatusPage = {
      requests: records.map(statusBody),
      next: nextPage(
        records.map(({ id }) => id),
        limit,
      ),
    };
    return page;
  });

  app.post<WithId>("/v1/requests/:id/cancel", async (request) => {
    const { id } = await statusOf(request);
    const canceled = await queue.cancel(id);
    if (canceled === undefined) throw requestNotFound(id);
    return statusBody(canceled);
  });

  app.delete<WithId>("/v1/requests/:id", async (request, reply) => {
    const record = await recordOf(request);
    const { id, state } = record;
    if (!isFinal(record)) {
      throw new ApiError(
        409,
        "REQUEST_NOT_FINISHED",
        `The request is ${state}. Cancel it first: POST /v1/requests/${id}/cancel`,
        { request_id: id, status: state },
      );
    }
    await forget(record, { queue, results });
    return reply.code(204).send();
  });

  app.get<WithId>("/v1/requests/:id/events", async (request, reply) => {
    const { id } = await statusOf(request);
    const after = lastEventId(request);
    const gone = new AbortController();
    request.raw.once("close", () => gone.abort());
    const signal = AbortSignal.any([gone.signal, stopping]);
    return reply
      .header("content-type", "text/event-stream; charset=utf-8")
      .header("cache-control", "no-store")
      .header("x-accel-buffering", "no")
      .send(
        Readable.from(eventStream(queue, id, { after, links: linksFor(request, context), signal })),
      );
  });

  app.get<{ Params: { id: string; name: string } }>(
    "/v1/requests/:id/files/:name",
    async (request, reply) => {
      const { id } = await statusOf(request);
      const { name } = request.params;
      // What runs tell each other is nobody else's.
      const type = name.endsWith(".jsonl") ? undefined : contentTypeOf(name);
      const own = type !== undefined && name.startsWith(`${id}_`);
      const file = own ? await results.read(name) : undefined;
      if (file === undefined) {
        throw new ApiError(404, "FILE_NOT_FOUND", "The request has no such file.", {
          request_id: id,
          name,
        });
      }
      const isReport = /_report\.(?:json|html)$/.test(name);
      return (
        reply
          .header("content-type", type)
          .header("content-length", file.bytes)
          // A picture's content never changes. A report grows while it is made.
          .header("cache-control", isReport ? "no-store" : "private, max-age=31536000, immutable")
          // A page must never run here: it would be one of this server's.
          .headers(isReport ? downloadOf(name) : {})
          .send(file.content)
      );
    },
  );
}

function downloadOf(name: string): Record<string, string> {
  const shown = name.slice(name.lastIndexOf("_") + 1);
  return {
    "content-disposition": `attachment; filename="${shown}"`,
    "content-security-policy": "sandbox",
  };
}

function lastEventId(request: FastifyRequest): number {
  const given = request.headers["last-event-id"] ?? "0";
  if (typeof given === "string" && /^\d{1,9}$/.test(given)) return Number(given);
  throw new ApiError(400, "INVALID_PARAMETER", "The header 'Last-Event-ID' is no number of ours.");
}
