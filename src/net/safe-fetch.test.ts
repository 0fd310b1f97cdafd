import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isAllowedAddress, parseRanges } from "./addresses.ts";
import { redactText, redactUrl } from "./redact.ts";
import { FetchError, SafeFetcher } from "./safe-fetch.ts";
import { deliverWebhook } from "./webhook.ts";

let server: Server;
let port: number;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
beforeAll(async () => {
  server = createServer((request, response) => answer(request, response));
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  port = (server.address() as AddressInfo).port; // a TCP server's address
});
afterAll(() => server.close());

const signal = AbortSignal.timeout(20_000);
const strict = new SafeFetcher({ allowed: [], allowHttp: true });
const loopback = new SafeFetcher({ allowed: parseRanges(["127.0.0.0/8"]), allowHttp: true });
afterAll(async () => {
  await strict.close();
  await loopback.close();
});

describe("addresses that a stranger's URL never reaches", () => {
  test.each([
    "127.0.0.1",
    "127.255.1.2",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "fc00:1234::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a9fe:a9fe",
    "2002:7f00:1::",
    "2001:db8::1",
  ])("%s", (address) => expect(isAllowedAddress(address, [])).toBe(false));

  test.each(["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111"])("%s is public", (address) =>
    expect(isAllowedAddress(address, [])).toBe(true),
  );

  test("an operator may open a range", () => {
    const allowed = parseRanges(["10.0.0.0/8", "fd00::5"]);
    expect(isAllowedAddress("10.9.9.9", allowed)).toBe(true);
    expect(isAllowedAddress("::ffff:10.9.9.9", allowed)).toBe(true);
    expect(isAllowedAddress("fd00::5", allowed)).toBe(true);
    expect(isAllowedAddress("fd00::6", allowed)).toBe(false);
    expect(() => parseRanges(["office"])).toThrow(/"office" is no address or CIDR range/);
  });
});

describe("URLs that are refused before anything is sent", () => {
  test.each([
    (p: number) => `http://127.0.0.1:${p}/`,
    (p: number) => `http://2130706433:${p}/`,
    (p: number) => `http://0x7f.1:${p}/`,
    (p: number) => `http://0177.0.0.1:${p}/`,
    (p: number) => `http://[::1]:${p}/`,
    (p: number) => `http://[::ffff:127.0.0.1]:${p}/`,
    (p: number) => `http://localhost:${p}/`,
    () => "http://169.254.169.254/latest/meta-data/",
  ])("%o", async (urlOf) => {
    let reached = false;
    answer = (_, response) => {
      reached = true;
      response.end();
    };
    const fetched = strict.fetch(urlOf(port), { method: "GET", signal });
    await expect(fetched).rejects.toThrow(/private address/);
    expect(reached).toBe(false);
  });

  test.each(["file:///etc/passwd", "ftp://example.com/x", "gopher://x/", "data:text/plain,x"])(
    "%s",
    async (url) => {
      await expect(strict.fetch(url, { method: "GET", signal })).rejects.toThrow(/is not https/);
    },
  );

  test("plain http, unless the operator allows it", async () => {
    const fetcher = new SafeFetcher({ allowed: [], allowHttp: false });
    const fetched = fetcher.fetch("http://example.com/x?token=abc", { method: "GET", signal });
    await expect(fetched).rejects.toThrow(/^http:\/\/example\.com\/x\?… is not https/);
    await fetcher.close();
  });
});

test("a name that leads to a private address is refused, even beside a public one", async () => {
  const publicly = { address: "93.184.216.34", family: 4 };
  const privately = { address: "127.0.0.1", family: 4 };
  for (const addresses of [[privately], [publicly, privately]]) {
    const lookup = async () => addresses;
    const fetcher = new SafeFetcher({ allowed: [], allowHttp: true, lookup });
    const fetched = fetcher.fetch(`http://rebind.example:${port}/`, { method: "GET", signal });
    await expect(fetched).rejects.toThrow(/private address/);
    await fetcher.close();
  }
});

test("the address that was checked is the one that is connected to: a second answer isn't asked for", async () => {
  answer = (_, response) => response.end("here");
  let lookups = 0;
  const lookup = async () => [{ address: lookups++ === 0 ? "127.0.0.1" : "127.0.0.9", family: 4 }];
  const allowed = parseRanges(["127.0.0.1"]);
  const fetcher = new SafeFetcher({ allowed, allowHttp: true, lookup });
  const response = await fetcher.fetch(`http://rebind.example:${port}/`, { method: "GET", signal });
  expect(await response.body.text()).toBe("here");
  expect(lookups).toBe(1);
  await fetcher.close();
});

describe("redirects", () => {
  test("are followed and checked at each hop", async () => {
    answer = (request, response) => {
      const to = request.url === "/start" ? "/end" : undefined;
      if (to === undefined) response.end("here");
      else response.writeHead(302, { location: to }).end();
    };
    const response = await loopback.fetch(`http://127.0.0.1:${port}/start`, {
      method: "GET",
      signal,
    });
    expect(await response.body.text()).toBe("here");
    answer = (_, response) => {
      response.writeHead(302, { location: "http://169.254.169.254/latest" }).end();
    };
    const inward = loopback.fetch(`http://127.0.0.1:${port}/`, { method: "GET", signal });
    await expect(inward).rejects.toThrow(/private address/);
  });

  test("end somewhere", async () => {
    answer = (_, response) => {
      response.writeHead(302, { location: "/again" }).end();
    };
    const fetched = loopback.fetch(`http://127.0.0.1:${port}/`, { method: "GET", signal });
    await expect(fetched).rejects.toThrow(/more than 5 times/);
  });

  test("never carry an authorization to another host", async () => {
    const seen: (string | undefined)[] = [];
    answer = (request, response) => {
      seen.push(request.headers.authorization);
      const first = request.headers.host?.startsWith("127.0.0.1");
      if (first) response.writeHead(302, { location: `http://127.0.0.2:${port}/` }).end();
      else response.end();
    };
    const second = createServer((request, response) => answer(request, response));
    await new Promise<void>((done) => second.listen(port, "127.0.0.2", done));
    const authorization = { host: `127.0.0.1:${port}`, value: "Bearer secret" };
    const options = { method: "GET", signal, authorization } as const;
    await (await loopback.fetch(`http://127.0.0.1:${port}/`, options)).body.dump();
    second.close();
    expect(seen).toEqual(["Bearer secret", undefined]);
  });
});

test("webhooks are signed so that a receiver can check them", async () => {
  let seen: IncomingMessage | undefined;
  let body = "";
  answer = (request, response) => {
    seen = request;
    request.on("data", (chunk) => {
      body += chunk;
    });
    request.on("end", () => response.end());
  };
  const hook = {
    url: `http://127.0.0.1:${port}/hook`,
    secret: "0123456789abcdef",
    id: "msg",
    body: "{}",
  };
  await deliverWebhook(loopback, hook, signal);
  const { createHmac } = await import("node:crypto");
  const timestamp = seen!.headers["webhook-timestamp"];
  const expected = createHmac("sha256", hook.secret)
    .update(`msg.${timestamp}.${body}`)
    .digest("base64");
  expect(seen!.headers["webhook-signature"]).toBe(`v1,${expected}`);
  answer = (_, response) => response.writeHead(500).end();
  const refused = await deliverWebhook(loopback, hook, signal).catch((error) => error);
  expect(refused).toBeInstanceOf(FetchError);
  expect(refused.transient).toBe(true);
});

test("secrets are masked", () => {
  expect(redactUrl("https://user:pass@host.example/a?token=x#y")).toBe("https://host.example/a?…");
  const text =
    "hf_abcdefghijklmn Bearer abc.def https://u:p@h/x?api_token=1&size=2 rtk_0123456789 postgres://me:pw@db/x";
  expect(redactText(text)).toBe(
    "hf_*** Bearer *** https://***@h/x?api_token=***&size=2 rtk_*** postgres://***@db/x",
  );
});
