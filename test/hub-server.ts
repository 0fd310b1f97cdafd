import { createHash } from "node:crypto";
import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join, relative } from "node:path";
import { setTimeout as wait } from "node:timers/promises";

/** As the hub: a file of this size on is kept outside of Git, and given by another host. */
const largeBytes = 50_000;

/** What goes wrong with requests whose method and URL match, so many times. */
export interface Fault {
  readonly at: RegExp;
  times: number;
  /** Answers with this status and headers. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sends other bytes of the same length. */
  readonly wrongBytes?: boolean;
  /** Says and sends that many bytes less than there are. */
  readonly shorterBy?: number;
  /** Cuts the connection after so many bytes. */
  readonly cutAt?: number;
  /** Sends so many bytes, then nothing. */
  readonly stallAt?: number;
}

interface HubFile {
  readonly path: string;
  readonly content: Buffer;
  readonly etag: string;
  readonly isLarge: boolean;
}

interface Repository {
  readonly commit: string;
  readonly files: readonly HubFile[];
}

export interface ListEntry {
  rfilename: string;
  size?: number;
  blobId?: string;
  lfs?: { sha256: string; size: number; pointerSize: number };
}

/** What a request was, without its body. */
export interface Seen {
  readonly host: "hub" | "storage";
  readonly method: string;
  readonly url: string;
  readonly authorization: string | undefined;
  readonly range: string | undefined;
}

/**
 * A hub on loopback that speaks its protocol: lists with sizes and hashes, files
 * by revision, large ones redirected to a storage host of another origin, which
 * refuses whoever shows it a token.
 */
export class TestHub {
  readonly #repositories = new Map<string, Repository>();
  readonly #hub: Server;
  readonly #storage: Server;
  readonly seen: Seen[] = [];
  readonly faults: Fault[] = [];
  /** Of files, to clients; what a killed client never read included. */
  sentBytes = 0;
  /** For each connection; 0 is as fast as it goes. */
  bytesPerSecond = 0;
  /** Without it nothing is given. */
  token: string | undefined;
  editList: (list: ListEntry[]) => ListEntry[] = (list) => list;

  private constructor() {
    const guarded =
      (answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>) =>
      (request: IncomingMessage, response: ServerResponse) => {
        answer(request, response).catch(() => response.destroy());
      };
    this.#hub = createServer(guarded((...both) => this.#answerHub(...both)));
    this.#storage = createServer(guarded((...both) => this.#answerStorage(...both)));
  }

  /** @param repositories folders by the repositories' names */
  static async start(repositories: Readonly<Record<string, string>>): Promise<TestHub> {
    const hub = new TestHub();
    for (const [name, folder] of Object.entries(repositories)) hub.add(name, folder);
    for (const server of [hub.#hub, hub.#storage]) {
      await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    }
    return hub;
  }

  add(name: string, folder: string): void {
    const files = readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => {
        const file = join(entry.parentPath, entry.name);
        return hubFile(relative(folder, file), readFileSync(realpathSync(file)));
      });
    const commit = createHash("sha1")
      .update(files.map(({ etag }) => etag).join())
      .digest("hex");
    this.#repositories.set(name, { commit, files });
  }

  get endpoint(): string {
    return addressOf(this.#hub);
  }

  /** What clients need: the storage is a private address without TLS. */
  get env(): Record<string, string> {
    return {
      HF_ENDPOINT: this.endpoint,
      RETAKE_ALLOW_ADDRESSES: "127.0.0.1",
      RETAKE_ALLOW_HTTP: "1",
    };
  }

  repository(name: string): Repository {
    const found = this.#repositories.get(name);
    if (found === undefined) throw new Error(`no repository ${name}`);
    return found;
  }

  async close(): Promise<void> {
    for (const server of [this.#hub, this.#storage]) {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    }
  }

  async #answerHub(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = this.#note("hub", request);
    const fault = this.#faultAt(request);
    if (fault?.status !== undefined) {
      response.writeHead(fault.status, fault.headers ?? {}).end("words of the hub");
      return;
    }
    if (this.token !== undefined && request.headers.authorization !== `Bearer ${this.token}`) {
      response.writeHead(401, { "x-error-code": "RepoNotFound" }).end();
      return;
    }
    const list = /^\/api\/models\/([^/]+\/[^/]+)\/revision\/([^/]+)$/.exec(url.pathname);
    const file = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname);
    const [, name = "", revision = ""] = list ?? file ?? [];
    const repository = this.#repositories.get(name);
    if (repository === undefined) {
      response.writeHead(404, { "x-error-code": "RepoNotFound" }).end();
    } else if (!["main", "v1", repository.commit].includes(decodeURIComponent(revision))) {
      response.writeHead(404, { "x-error-code": "RevisionNotFound" }).end();
    } else if (list !== null) {
      const withBlobs = url.searchParams.get("blobs") === "true";
      const siblings = this.editList(repository.files.map((one) => listEntry(one, withBlobs)));
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ id: name, sha: repository.commit, siblings }));
    } else {
      await this.#answerFile(request, response, repository, file?.[3] ?? "", fault);
    }
  }

  async #answerFile(
    request: IncomingMessage,
    response: ServerResponse,
    { commit, files }: Repository,
    path: string,
    fault: Fault | undefined,
  ): Promise<void> {
    const file = files.find((one) => one.path === decodeURIComponent(path));
    response.setHeader("x-repo-commit", commit);
    if (file === undefined) {
      response.writeHead(404, { "x-error-code": "EntryNotFound" }).end();
      return;
    }
    if (!file.isLarge) {
      await this.#send(request, response, file, fault);
      return;
    }
    const location = `${addressOf(this.#storage)}/${file.etag}?Signature=s3cret`;
    response.setHeader("x-linked-etag", `"${file.etag}"`);
    response.setHeader("x-linked-size", file.content.length);
    response.writeHead(302, { location }).end();
  }

  async #answerStorage(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = this.#note("storage", request);
    const fault = this.#faultAt(request);
    const file = [...this.#repositories.values()]
      .flatMap(({ files }) => files)
      .find(({ etag }) => etag === url.pathname.slice(1));
    if (request.headers.authorization !== undefined) response.writeHead(400).end();
    else if (fault?.status !== undefined) response.writeHead(fault.status, fault.headers).end();
    else if (file === undefined) response.writeHead(404).end();
    else await this.#send(request, response, file, fault);
  }

  async #send(
    request: IncomingMessage,
    response: ServerResponse,
    { content, etag }: HubFile,
    fault: Fault | undefined,
  ): Promise<void> {
    const end = content.length - (fault?.shorterBy ?? 0);
    const [, from] = /^bytes=(\d+)-$/.exec(request.headers.range ?? "") ?? [];
    const start = Number(from ?? 0);
    response.setHeader("etag", `"${etag}"`);
    if (from !== undefined && start >= end) {
      response.writeHead(416, { "content-range": `bytes */${end}` }).end();
      return;
    }
    response.writeHead(from === undefined ? 200 : 206, {
      "content-length": end - start,
      ...(from === undefined ? {} : { "content-range": `bytes ${start}-${end - 1}/${end}` }),
    });
    if (request.method === "HEAD") {
      response.end();
      return;
    }
    const body = Buffer.from(content.subarray(start, end));
    if (fault?.wrongBytes === true) body.fill(0x21, body.length >> 1);
    const stop = fault?.cutAt ?? fault?.stallAt;
    await this.#write(response, body.subarray(0, stop));
    if (fault?.cutAt !== undefined) {
      await wait(50);
      response.destroy();
    } else if (fault?.stallAt === undefined) response.end();
  }

  /** In small pieces when it is slow: few bytes are on their way when a client dies. */
  async #write(response: ServerResponse, body: Buffer): Promise<void> {
    const piece = this.bytesPerSecond === 0 ? body.length : Math.ceil(this.bytesPerSecond / 50);
    for (let at = 0; at < body.length && !response.destroyed; at += piece) {
      const bytes = body.subarray(at, at + piece);
      this.sentBytes += bytes.length;
      response.write(bytes);
      if (this.bytesPerSecond !== 0) await wait(20);
    }
  }

  #note(host: Seen["host"], { method = "", url = "", headers }: IncomingMessage): URL {
    const { authorization, range } = headers;
    this.seen.push({ host, method, url, authorization, range });
    return new URL(url, "http://hub");
  }

  #faultAt({ method, url }: IncomingMessage): Fault | undefined {
    const fault = this.faults.find(({ at, times }) => times > 0 && at.test(`${method} ${url}`));
    if (fault !== undefined) fault.times--;
    return fault;
  }
}

function hubFile(path: string, content: Buffer): HubFile {
  const isLarge = content.length >= largeBytes;
  const etag = isLarge ? createHash("sha256").update(content).digest("hex") : gitHash(content);
  return { path, content, etag, isLarge };
}

/** As `git hash-object` does. */
function gitHash(content: Buffer): string {
  return createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
}

function listEntry({ path, content, etag, isLarge }: HubFile, withBlobs: boolean): ListEntry {
  if (!withBlobs) return { rfilename: path };
  const size = content.length;
  if (!isLarge) return { rfilename: path, size, blobId: etag };
  // Git keeps a pointer: it is that which blobId names.
  const pointer = Buffer.from(
    `version https://git-lfs.github.com/spec/v1\noid sha256:${etag}\nsize ${size}\n`,
  );
  const lfs = { sha256: etag, size, pointerSize: pointer.length };
  return { rfilename: path, size, blobId: gitHash(pointer), lfs };
}

function addressOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // a TCP server has no other
}
