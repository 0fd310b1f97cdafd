import type { FastifyInstance } from "fastify";
import fastify from "fastify";
import { afterAll, describe, expect, test } from "vitest";
import { parseSettings } from "../config/settings.ts";
import { ApiError } from "./api-error.ts";
import { refuseForeignPages } from "./foreign-pages.ts";

const opened: FastifyInstance[] = [];
afterAll(async () => {
  for (const app of opened) await app.close();
});

function appWith(environment: Record<string, string>, withKeys = false): FastifyInstance {
  const app = fastify();
  opened.push(app);
  app.setErrorHandler((error, _, reply) =>
    error instanceof ApiError ? reply.code(error.status).send(error.body()) : reply.send(error),
  );
  refuseForeignPages(app, parseSettings(environment, { demoLoras: "", models: [] }), { withKeys });
  app.all("/*", async () => "in");
  return app;
}

const statusOf = async (
  app: FastifyInstance,
  headers: Record<string, string>,
  [method, url]: ["GET" | "POST" | "DELETE", string] = ["GET", "/v1/models"],
) => (await app.inject({ method, url, headers })).statusCode;

describe("the name that a request is for", () => {
  const app = appWith({
    HOST: "Desk.lan",
    BASE_URL: "https://pictures.example/api",
    RETAKE_ALLOWED_HOSTS: "one.example .many.example",
  });

  test.each([
    "localhost",
    "localhost:8000",
    "LOCALHOST",
    "retake.localhost:1",
    "127.0.0.1:8000",
    "127.9.9.9",
    "192.168.1.5:8000",
    "[::1]:8000",
    "[fd00::5]",
    "2130706433",
    "desk.lan:8000",
    "pictures.example",
    "one.example.",
    "a.many.example",
  ])("%s is let in", async (host) => {
    expect(await statusOf(app, { host })).toBe(200);
  });

  test.each([
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "notlocalhost",
    "many.example",
    "evilmany.example",
    "b.one.example",
    "user@localhost",
    "localhost/evil.example",
    "a b",
    "[::1",
  ])("%j is refused on every route but /health", async (host) => {
    for (const url of ["/v1/models", "/metrics", "/docs", "/openapi.json", "/none"]) {
      const answer = await app.inject({ url, headers: { host } });
      expect([answer.statusCode, answer.json().detail?.error.code]).toEqual([
        421,
        "HOST_NOT_ALLOWED",
      ]);
      expect(answer.json().detail.error.message).toContain("RETAKE_ALLOWED_HOSTS");
    }
    expect(await statusOf(app, { host }, ["GET", "/health"])).toBe(200);
  });

  test("does not matter where clients need a key", async () => {
    expect(await statusOf(appWith({}, true), { host: "evil.example" })).toBe(200);
  });
});

describe("the page that a request comes from", () => {
  const post = ["POST", "/v1/requests/x/cancel"] as ["POST", string];

  test.each<[Record<string, string>, number]>([
    [{ host: "localhost:8000" }, 200],
    [{ host: "localhost:8000", origin: "http://localhost:8000" }, 200],
    [{ host: "LOCALHOST:8000", origin: "http://localhost:8000" }, 200],
    [{ host: "127.0.0.1", origin: "https://own.example" }, 200],
    [{ host: "localhost:8000", origin: "https://friend.example" }, 200],
    [{ host: "localhost:8000", origin: "http://localhost:8001" }, 403],
    [{ host: "localhost:8000", origin: "https://evil.example" }, 403],
    [{ host: "localhost:8000", origin: "null" }, 403],
    [{ host: "localhost:8000", "sec-fetch-site": "cross-site" }, 403],
    [{ host: "localhost:8000", "sec-fetch-site": "same-origin" }, 200],
    [{ host: "localhost:8000", "sec-fetch-site": "none" }, 200],
    // Its own name leads here: to the browser it is the same site, and to us it is unknown.
    [{ host: "evil.example:8000", origin: "http://evil.example:8000" }, 421],
  ])("%j", async (headers, status) => {
    const own = {
      BASE_URL: "https://own.example",
      RETAKE_CORS_ORIGINS: "https://friend.example",
    };
    for (const withKeys of status === 421 ? [false] : [false, true]) {
      const app = appWith(own, withKeys);
      expect(await statusOf(app, headers, post)).toBe(status);
      expect(await statusOf(app, headers, ["DELETE", "/v1/requests/x"])).toBe(status);
      // Browsers keep answers from a page that no header lets read them.
      if (status === 403) expect(await statusOf(app, headers)).toBe(200);
    }
  });
});
