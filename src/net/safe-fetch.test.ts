import type { Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { serve, serveRaw } from "../../test/loopback.ts";
import type { NetworkPolicy } from "../config/network.ts";
import { parseStoreSettings } from "../config/settings.ts";
import { CanceledError } from "../errors.ts";
import { RefusedUrlError, TransferError } from "./errors.ts";
import { checkRedirect } from "./policy.ts";
import { type SafeRequest, safeFetch, statusError } from "./safe-fetch.ts";

const limits = { headersMs: 5000, idleMs: 5000, totalMs: 10_000, bytes: 1_000_000 };
/** As in production, but for plain http, which the test servers speak. */
const standard: NetworkPolicy = parseStoreSettings({}).network;
const strict: NetworkPolicy = { ...standard, schemes: ["http", "https"] };
const local: NetworkPolicy = { ...strict, allow: ["127.0.0.1"] };

async function read(url: string, options: Partial<SafeRequest> = {}): Promise<string> {
  return safeFetch(url, { policy: local, limits, ...options }, async (response) => {
    if (response.status >= 300) throw statusError(url, response);
    const chunks: Uint8Array[] = [];
    for await (const chunk of response.body) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  });
}

async function failure(url: string, options: Partial<SafeRequest> = {}): Promise<Error> {
  return read(url, options).then(
    () => Promise.reject(new Error("it was allowed")),
    (error) => error,
  );
}

test("an allowed address answers", async () => {
  const url = await serve((_, response) => response.end("hello"));
  expect(await read(`${url}/file?token=1`)).toBe("hello");
});

test.each([
  "http://127.0.0.1/",
  "http://127.0.0.1./",
  "http://127.1/",
  "http://2130706433/",
  "http://0177.0.0.1/",
  "http://0x7f000001/",
  "http://0x7f.1/",
  "http://①②⑦.0.0.1/",
  "http://0.0.0.0/",
  "http://0/",
  "http://169.254.169.254/latest/meta-data/",
  "http://10.0.0.1/",
  "http://100.64.0.1/",
  "http://[::1]/",
  "http://[::]/",
  "http://[fd00::1]/",
  "http://[fe80::1]/",
  "http://[::ffff:127.0.0.1]/",
  "http://[::ffff:7f00:1]/",
  "http://[::127.0.0.1]/",
  "http://[64:ff9b::7f00:1]/",
  "http://[2002:7f00:1::]/",
  "http://localhost/",
  "http://LOCALHOST./",
  "http://a.localhost/",
])("%s is refused", async (url) => {
  const error = await failure(url, { policy: strict });
  expect(error).toBeInstanceOf(RefusedUrlError);
  expect(error.message).toContain("not on the public internet");
});

test.each([
  ["file:///etc/passwd", /file: links are not allowed here/],
  ["ftp://example.com/", /ftp: links/],
  ["http://user:pw@example.com/", /^http:\/\/example.com\/ is refused: it holds a user name/],
  ["http://example.com:22/", /port 22 is not allowed/],
  ["https://example.com:6379/", /port 6379/],
  ["//example.com", /not a URL/],
  [`https://example.com/${"a".repeat(9000)}`, /not a URL of at most 8192/],
])("%.40s is refused", async (url, message) => {
  const error = await failure(url, { policy: strict });
  expect(error).toBeInstanceOf(RefusedUrlError);
  expect(error.message).toMatch(message);
});

test("https alone is the default", async () => {
  const error = await failure("http://example.com/", { policy: standard });
  expect(error.message).toContain("use https");
});

test("a name that answers with an allowed address first and 127.0.0.1 next gains nothing", async () => {
  let hits = 0;
  const port = new URL(await serve((_, response) => response.end(String(++hits)))).port;
  const answers = [["127.0.0.2"], ["127.0.0.1"], ["127.0.0.1", "::1", "10.0.0.1"]];
  let asked = 0;
  const resolve = async () => {
    const addresses = answers[Math.min(asked++, 2)]!;
    return addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
  };
  // 127.0.0.2 stands for a public address: nobody listens there.
  const policy: NetworkPolicy = {
    schemes: ["http"],
    ports: [Number(port)],
    allow: ["127.0.0.2"],
  };
  const first = await failure(`http://rebind.example:${port}/`, { policy, resolve });
  expect(first).toBeInstanceOf(TransferError);
  // One look-up for check and connection: a second would have given 127.0.0.1.
  expect(asked).toBe(1);
  for (let times = 0; times < 3; times++) {
    const next = await failure(`http://rebind.example:${port}/`, { policy, resolve });
    expect(next).toBeInstanceOf(RefusedUrlError);
    expect(next.message).not.toContain("127.0.0.1");
  }
  expect(hits).toBe(0);
});

test("of several addresses the socket gets only the reachable ones", async () => {
  const url = new URL(await serve((_, response) => response.end("reached")));
  const resolve = async () => [
    { address: "::1", family: 6 },
    { address: "10.0.0.1", family: 4 },
    { address: "127.0.0.1", family: 4 },
  ];
  const policy = { ...local, ports: [Number(url.port)] };
  expect(await read(`http://mixed.example:${url.port}/`, { policy, resolve })).toBe("reached");
});

test("redirects: followed and checked one by one, at most five", async () => {
  const url = await serve((request, response) => {
    const left = Number(request.url?.slice(1));
    if (left === 0) response.end("arrived");
    else response.writeHead(302, { location: `/${left - 1}` }).end();
  });
  expect(await read(`${url}/5`)).toBe("arrived");
  expect((await failure(`${url}/6`)).message).toContain("more than 5 times");
});

test.each([
  "http://127.0.0.2/",
  "http://169.254.169.254/",
  "http://[::1]:1/",
  "http://localhost:1/",
  "//0/",
  "file:///etc/passwd",
  "http://u:p@127.0.0.1/",
])("a redirect to %s is refused", async (location) => {
  const url = await serve((_, response) =>
    response.writeHead(307, { location }).end("secret body"),
  );
  // Whatever family localhost has here, only 127.0.0.1 is allowed.
  const resolve = async () => [{ address: "::1", family: 6 }];
  const error = await failure(url, { resolve });
  expect(error).toBeInstanceOf(RefusedUrlError);
  expect(error.message).not.toContain("secret");
});

test("a redirect must not give up TLS, nor leave the policy", () => {
  const from = new URL("https://a.example/x?token=s3cret");
  const to = (link: string) => checkRedirect(from, new URL(link), strict).href;
  expect(to("https://b.example/")).toBe("https://b.example/");
  expect(() => to("http://a.example/")).toThrow(
    "https://a.example/x is refused: it redirects to an address without TLS",
  );
  expect(() => to("https://10.0.0.1/")).toThrow("not on the public internet");
});

test("a redirect without a target, and one of a POST, are errors", async () => {
  const url = await serve((_, response) => response.writeHead(308, { location: "/x" }).end());
  expect((await failure(url, { body: "{}" })).message).toContain("not followed");
  const nowhere = await serve((_, response) => response.writeHead(301).end());
  expect((await failure(nowhere)).message).toContain("not followed");
});

test("authorization goes to its own origin only, redirects included", async () => {
  const seen: (string | undefined)[] = [];
  const other = await serve((request, response) => {
    seen.push(request.headers.authorization);
    response.end("file");
  });
  const hub = await serve((request, response) => {
    seen.push(request.headers.authorization);
    response.writeHead(302, { location: other }).end();
  });
  const authorization = { value: "Bearer hf_secretsecret", origins: [hub] };
  expect(await read(hub, { authorization })).toBe("file");
  expect(seen).toEqual(["Bearer hf_secretsecret", undefined]);
  expect(await read(other, { authorization })).toBe("file");
  expect(seen[2]).toBeUndefined();
});

test("an endless body ends at the limit", async () => {
  const url = await serve((_, response) => {
    const more = () => {
      while (response.write(Buffer.alloc(65_536)));
    };
    response.on("drain", more);
    more();
  });
  expect((await failure(url)).message).toContain("larger than the 1000000 bytes");
});

test("a declared length beyond the limit is refused before anything is read", async () => {
  const url = await serve((_, response) => {
    response.writeHead(200, { "content-length": "5000000000" });
    response.write("start");
  });
  expect((await failure(`${url}/a?token=hf_secretsecret`)).message).toMatch(
    /^http:\/\/127.0.0.1:\d+\/a is larger/,
  );
});

test("compressed data is neither asked for nor taken", async () => {
  let asked: string | undefined;
  const bomb = gzipSync(Buffer.alloc(50_000_000));
  const url = await serve((request, response) => {
    asked = String(request.headers["accept-encoding"]);
    response.writeHead(200, { "content-encoding": "gzip" }).end(bomb);
  });
  expect((await failure(url)).message).toContain("compressed data");
  expect(asked).toBe("identity");
});

test.each([
  ["headers that don't come", () => {}, { headersMs: 100 }, "to answer"],
  [
    "headers that never end",
    (socket: Socket) => drip(socket, "HTTP/1.1 200 OK\r\n", "x-a: b\r\n"),
    { headersMs: 200 },
    "to answer",
  ],
  [
    "a body that stops",
    (socket: Socket) => void socket.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"),
    { idleMs: 100 },
    "to send more",
  ],
  [
    "a body that drips",
    (socket: Socket) => drip(socket, "HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n", "a"),
    { totalMs: 300 },
    "in all",
  ],
])("%s", async (_, listener, tight, words) => {
  const url = await serveRaw(listener);
  const error = await failure(url, { limits: { ...limits, ...tight } });
  expect(error).toBeInstanceOf(TransferError);
  expect(error.message).toContain(words);
});

test("a body shorter than declared, a cut connection, no HTTP at all: may be tried again", async () => {
  for (const text of [
    "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
    "SSH-2.0-OpenSSH\r\n",
    "",
  ]) {
    const error = await failure(await serveRaw((socket) => void socket.end(text)));
    expect(error).toMatchObject({ name: "TransferError", transient: true });
  }
});

test("headers without end are cut off", async () => {
  const url = await serveRaw((socket) => {
    socket.write("HTTP/1.1 200 OK\r\n");
    socket.write(`x: ${"a".repeat(100_000)}\r\n`);
  });
  expect((await failure(url)).message).toContain("UND_ERR_HEADERS_OVERFLOW");
});

test("the caller's signal stops it at any point", async () => {
  const url = await serve((request, response) => {
    if (request.url === "/body") response.write("start");
  });
  for (const path of ["/", "/body"]) {
    const error = await failure(url + path, { signal: AbortSignal.timeout(100) });
    expect(error).toBeInstanceOf(CanceledError);
  }
  expect(await failure(url, { signal: AbortSignal.abort() })).toBeInstanceOf(CanceledError);
});

function drip(socket: Socket, start: string, piece: string): void {
  socket.write(start);
  const timer = setInterval(() => socket.write(piece), 20);
  socket.on("close", () => clearInterval(timer));
}

test("the operator's own origin is reached wherever it is; where it redirects to is not", async () => {
  const elsewhere = await serve((_, response) => response.end("secret"));
  const mirror: string = await serve(({ url }, response) => {
    if (url === "/near") response.writeHead(302, { location: "/here" }).end();
    else if (url === "/far") response.writeHead(302, { location: elsewhere }).end();
    else response.end("hello");
  });
  const options = { policy: standard, trustedOrigin: mirror };
  expect(await read(`${mirror}/near`, options)).toBe("hello");
  expect(await failure(`${mirror}/far`, options)).toBeInstanceOf(RefusedUrlError);
  expect(await failure(elsewhere, options)).toBeInstanceOf(RefusedUrlError);
  const withLogin = mirror.replace("//", "//user:password@");
  expect(await failure(withLogin, options)).toBeInstanceOf(RefusedUrlError);
});
