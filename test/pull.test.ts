import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { parseStoreSettings } from "../src/config/settings.ts";
import { InputError } from "../src/errors.ts";
import { pull as pullHere } from "../src/hub/pull.ts";
import { modelById, repositoriesOf } from "../src/models/registry.ts";
import { TransferError } from "../src/net/errors.ts";
import { demoWeights } from "../src/paths.ts";
import { findTrainingAdapter } from "../src/pipeline/training-adapter.ts";
import { goldenFolder } from "./golden.ts";
import { type Fault, type ListEntry, TestHub } from "./hub-server.ts";
import type { RetakeProcess } from "./retake-process.ts";
import { startRetake } from "./retake-process.ts";

const turbo = "Tongyi-MAI/Z-Image-Turbo";
const store = join(goldenFolder, "tiny/store", turbo);
const adapter = "ostris/zimage_turbo_training_adapter";
const cacheName = "models--Tongyi-MAI--Z-Image-Turbo";
const token = "hf_test0123456789abcdef";

let folder: string;
let hub: TestHub;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-pull-"));
  hub = await TestHub.start({ [turbo]: store, [adapter]: join(demoWeights, adapter) });
  onTestFinished(async () => {
    await hub.close();
    rmSync(folder, { recursive: true });
  });
});

function start(args: readonly string[], env: Readonly<Record<string, string>> = {}): RetakeProcess {
  const home = { HOME: join(folder, "home") };
  const started = startRetake(args, { cwd: folder, env: { ...home, ...hub.env, ...env } });
  onTestFinished(() => void started.child.kill("SIGKILL"));
  return started;
}

/** In this process, with waits that a test can wait for. @returns why it failed, if it did */
async function pullInside(env: Readonly<Record<string, string>> = {}): Promise<unknown> {
  const home = { XDG_CACHE_HOME: join(folder, "home") };
  const all = { RETAKE_WEIGHTS: weights(), ...home, ...hub.env, ...env };
  const none = () => {};
  const selections = repositoriesOf([modelById("zimage_turbo")]);
  try {
    const settings = parseStoreSettings(all);
    await pullHere(
      selections.map((needed) => ({ ...needed, revision: "main" })),
      {
        weights: settings.weights,
        settings: { ...settings.hub, retryMs: 10 },
        network: settings.network,
        signal: new AbortController().signal,
        onProgress: none,
        onWait: none,
      },
    );
    return undefined;
  } catch (error) {
    return error;
  }
}

/** One paragraph for whom can mend it, without a secret. */
function expectRefused(error: unknown, reason: RegExp): void {
  expect(error).toBeInstanceOf(InputError);
  const { message } = error as InputError; // as the line before says
  expect(message).toMatch(reason);
  expect(message.split("\n")).toHaveLength(1);
  expect(message).not.toMatch(/s3cret|hf_test/);
  expectNothingToUse();
}

const weights = () => join(folder, "weights");
const cache = () => join(weights(), cacheName);
const pullArgs = (...more: string[]) => ["pull", "zimage_turbo", "--weights", weights(), ...more];
const pull = (env: Record<string, string> = {}, ...more: string[]) =>
  start(pullArgs(...more), env).ended;

const picture = [
  "--width",
  "64",
  "--height",
  "64",
  "--steps",
  "2",
  "--guidance",
  "1",
  "--profile",
  "reference",
];
const generate = (...args: string[]) => [
  "generate",
  "--model",
  "zimage_turbo",
  "--prompt",
  "a fox",
  ...picture,
  "--out",
  "a.png",
  ...args,
];

/** Every file of the cache; all that it may hold after a pull is proved by its name or its place. */
function expectWhole(root: string = cache()): void {
  const { commit, files } = hub.repository(turbo);
  const wanted = files.filter(({ path }) => path !== "README.md" && path !== "whole.safetensors");
  const blobs = readdirSync(join(root, "blobs")).toSorted();
  expect(blobs).toEqual([...new Set(wanted.map(({ etag }) => etag))].toSorted());
  for (const name of blobs)
    expect(hashOf(readFileSync(join(root, "blobs", name)), name)).toBe(name);
  const snapshot = join(root, "snapshots", commit);
  const found = readdirSync(snapshot, { recursive: true, withFileTypes: true });
  expect(found.filter((entry) => !entry.isDirectory())).toHaveLength(wanted.length);
  for (const { path, etag, content } of wanted) {
    const up = "../".repeat(path.split("/").length + 1);
    expect(readlinkSync(join(snapshot, path))).toBe(`${up}blobs/${etag}`);
    expect(readFileSync(join(snapshot, path)).equals(content), path).toBe(true);
  }
  expect(readFileSync(join(root, "refs/main"), "utf8")).toBe(commit);
  expect(readdirSync(root).toSorted()).toEqual(["blobs", "refs", "snapshots"]);
  expect(readdirSync(join(root, "../.locks", cacheName))).toEqual([]);
}

/** As the hub names content: SHA-256, or Git's SHA-1 of a blob. */
function hashOf(content: Buffer, name: string): string {
  if (name.length === 64) return createHash("sha256").update(content).digest("hex");
  return createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
}

/** Nothing that could be taken for a file, and no way to find the commit. */
function expectNothingToUse(): void {
  expect(existsSync(join(cache(), "refs"))).toBe(false);
  if (existsSync(join(cache(), "blobs"))) {
    for (const name of readdirSync(join(cache(), "blobs"))) {
      if (name.endsWith(".incomplete")) continue;
      expect(hashOf(readFileSync(join(cache(), "blobs", name)), name)).toBe(name);
    }
  }
}

test("brings what the model needs and nothing else, and a picture comes of it", async () => {
  const repository = join(folder, "repository");
  cpSync(store, repository, { recursive: true });
  writeFileSync(join(repository, "README.md"), "# long words");
  writeFileSync(join(repository, "whole.safetensors"), Buffer.alloc(50_000));
  hub.add(turbo, repository);
  const { code, stdout, stderr } = await pull({ HF_TOKEN: token });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/^Tongyi-MAI\/Z-Image-Turbo@\w{12}: 12 files, 2\.5 MB, fetched 2\.5 MB\n/);
  expectWhole();
  // The token went to the hub with every request, and to nobody else.
  const told = (host: string) =>
    new Set(
      hub.seen.filter((seen) => seen.host === host).map(({ authorization }) => authorization),
    );
  expect(told("hub")).toEqual(new Set([`Bearer ${token}`]));
  expect(told("storage")).toEqual(new Set([undefined]));

  const made = await start(generate("--weights", weights())).ended;
  expect(made).toEqual({ code: 0, stdout: "a.png\n", stderr: "" });

  // Again: one look at the list, nothing fetched.
  hub.seen.length = 0;
  const again = await pull({}, "--json");
  expect(again.code).toBe(0);
  const { result } = JSON.parse(again.stdout);
  expect(result.repositories).toMatchObject([
    { repository: turbo, revision: "main", files: 12, fetched_bytes: 0 },
    { repository: adapter, revision: "main", files: 2, fetched_bytes: 0 },
  ]);
  const lists = [turbo, adapter].map((name) => `/api/models/${name}/revision/main?blobs=true`);
  expect(hub.seen.map(({ url }) => url)).toEqual(lists);
});

test("Turbo's training adapter comes along, and is found where it was put", async () => {
  expect((await pull()).code).toBe(0);
  const named = `${adapter}/zimage_turbo_training_adapter_v2.safetensors`;
  const path = await findTrainingAdapter([folder, weights()], named, "zimage_turbo");
  expect(path).toContain("models--ostris--zimage_turbo_training_adapter/snapshots/");
  expect(readFileSync(path).equals(readFileSync(join(demoWeights, named)))).toBe(true);
  const missing = findTrainingAdapter([folder], named, "zimage_turbo");
  await expect(missing).rejects.toThrow("retake pull zimage_turbo");
});

test("an adapter that can't be had is told, and the model is there", async () => {
  hub.faults.push({ at: /^GET \/api\/models\/ostris/, times: 9, status: 404 });
  const { code, stdout, stderr } = await pull({}, "--json");
  expect(code).toBe(0);
  expect(stderr).toMatch(
    /^warning: the training adapter ostris\/\S+ was not fetched: .*404.*--as-trained\.$/m,
  );
  const { result } = JSON.parse(stdout.trim().split("\n").at(-1)!);
  expect(result.without).toMatchObject([{ repository: adapter }]);
  expectWhole();
});

test("a model of two repositories takes its transformer from one, the rest from the other", async () => {
  const demo = fileURLToPath(new URL("../demo/weights/", import.meta.url));
  for (const name of [turbo, "ostris/Z-Image-De-Turbo"]) hub.add(name, join(demo, name));
  const { code } = await start(["pull", "zimage_deturbo", "--weights", weights()]).ended;
  expect(code).toBe(0);
  const names = hub.seen.map(({ url }) => url).filter((url) => url.includes("/resolve/"));
  expect(
    names.filter((url) => url.includes("Turbo/resolve") && url.includes("/transformer/")),
  ).toEqual(names.filter((url) => url.startsWith("/ostris/")));
});

test.each<[string, () => Record<string, string>, string]>([
  ["HF_HUB_CACHE", () => ({ HF_HUB_CACHE: join(folder, "a") }), "a"],
  ["HF_HOME", () => ({ HF_HOME: join(folder, "b") }), "b/hub"],
  ["XDG_CACHE_HOME", () => ({ XDG_CACHE_HOME: join(folder, "c") }), "c/huggingface/hub"],
  ["nothing", () => ({}), "home/.cache/huggingface/hub"],
])("without --weights it goes where the hub's tools look: %s", async (_, env, place) => {
  expect((await start(["pull", "zimage_turbo"], env()).ended).code).toBe(0);
  expectWhole(join(folder, place, cacheName));
  const made = await start(generate("--weights", "hub"), env()).ended;
  expect(made).toEqual({ code: 0, stdout: "a.png\n", stderr: "" });
});

test("killed again and again, it goes on where it was and ends with whole files", async () => {
  hub.bytesPerSecond = 400_000;
  /** Parts that are on the disk, by their hashes, with the bytes that they have. */
  const parts = () =>
    readdirSync(join(cache(), "blobs"))
      .filter((name) => name.endsWith(".incomplete"))
      .map((name) => [name.split(".")[0]!, statSync(join(cache(), "blobs", name)).size] as const)
      .filter(([etag, size]) => etag.length === 64 && size > 0);
  /** Each part is asked for from its end on. */
  const expectResumed = (left: ReturnType<typeof parts>) => {
    for (const [etag, size] of left) {
      const asked = hub.seen.filter(({ url }) => url.startsWith(`/${etag}`));
      for (const { range } of asked) expect(range).toBe(`bytes=${size}-`);
    }
  };
  let left: ReturnType<typeof parts> = [];
  // 1.4 of 2.5 MB.
  for (const bytes of [1, 50_000, 150_000, 400_000, 400_000, 400_000]) {
    const before = hub.sentBytes;
    hub.seen.length = 0;
    const { child, ended } = start(pullArgs());
    while (hub.sentBytes < before + bytes) await wait(5);
    child.kill("SIGKILL");
    expect(await ended).toMatchObject({ code: null, stdout: "" });
    expectNothingToUse();
    expectResumed(left);
    left = parts();
  }
  const made = await start(generate("--weights", weights())).ended;
  expect(made).toMatchObject({ code: 2, stdout: "" });
  expect(made.stderr).toMatch(/retake pull zimage_turbo/);
  hub.bytesPerSecond = 0;
  hub.seen.length = 0;
  expect(left.length).toBeGreaterThan(0);
  expect((await pull()).code).toBe(0);
  expectResumed(left);
  const asked = hub.seen.map(({ url }) => url.slice(1, 65));
  expect(asked).toEqual(expect.arrayContaining(left.map(([etag]) => etag)));
  expectWhole();
});

describe("what a person can mend: one paragraph, exit code 2, nothing that looks whole", () => {
  const list = /revision/;
  const large = /^GET \/[0-9a-f]{64}\?/;
  const always = 1000;
  const cases: [string, Partial<Fault>, Record<string, string>, RegExp][] = [
    ["401", { status: 401 }, {}, /HTTP status 401.*private.*HF_TOKEN.*hf auth login/],
    ["401 with a token", { status: 401 }, { HF_TOKEN: token }, /does not accept the token/],
    [
      "gated",
      { status: 403, headers: { "x-error-code": "GatedRepo" } },
      {},
      /gated.*http:\/\/127\.0\.0\.1:\d+\/Tongyi-MAI\/Z-Image-Turbo and accept/,
    ],
    ["403", { status: 403 }, { HF_TOKEN: token }, /refuses.*the token may read it/],
    [
      "no repository",
      { status: 404, headers: { "x-error-code": "RepoNotFound" } },
      {},
      /not on the hub.*private repository looks like this too/,
    ],
    [
      "no file",
      { at: /transformer.diff/, status: 404, headers: { "x-error-code": "EntryNotFound" } },
      {},
      /transformer.diffusion.*is not there/,
    ],
    ["wrong bytes, twice", { at: large, wrongBytes: true }, {}, /twice with other bytes/],
    ["another network's page", { status: 200 }, {}, /something else than a hub's list/],
    ["a bad token", {}, { HF_TOKEN: "hf_ä" }, /HF_TOKEN: takes a token: printable characters/],
    [
      "storage that is not allowed",
      {},
      { RETAKE_ALLOW_ADDRESSES: "" },
      /not on the public internet/,
    ],
  ];
  test.each(cases)("%s", async (_, fault, env, reason) => {
    if (Object.keys(fault).length > 0) hub.faults.push({ at: list, times: always, ...fault });
    expectRefused(await pullInside(env), reason);
  });

  test("the command says it, and ends with 2", async () => {
    hub.faults.push({ at: list, times: 1, status: 401 });
    const { code, stdout, stderr } = await pull({ HF_TOKEN: token });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^error: .*does not accept the token.*\n$/);
    expect(stderr).not.toContain(token);
  });

  test("a revision that is not there, and one that is", async () => {
    expect(await pull({}, "--revision", "v2")).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/no revision "v2".*tree\/main/),
    });
    expect(await pull({}, "--revision", "../../x")).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/not a branch, tag or commit/),
    });
    expect((await pull({}, "--revision", `${turbo}=v1`)).code).toBe(0);
    expect(readFileSync(join(cache(), "refs/v1"), "utf8")).toBe(hub.repository(turbo).commit);
    // The only revision that is there is the one that is meant.
    expect((await start(generate("--weights", weights())).ended).code).toBe(0);
  });

  const edits: [string, (list: ListEntry[]) => ListEntry[], RegExp][] = [
    ["../../x", named("../../x"), /leads out of its folder/],
    ["inside a folder", named("tokenizer/../../x"), /leads out of its folder/],
    ["absolute", named("/etc/x.json"), /leads out of its folder/],
    ["backslashes", named("tokenizer\\..\\x.json"), /leads out of its folder/],
    ["a drive", named("c:/x.json"), /leads out of its folder/],
    ["a line break", named("tokenizer/a\nb.json"), /leads out of its folder/],
    ["a hash that leads out", hashed("../../../x"), /gives no size and hash/],
    ["no sizes", (all) => all.map(({ rfilename }) => ({ rfilename })), /gives no size and hash/],
    ["more than the disk holds", sized(5e15), /5000000\.\d GB are still.* has \S+ GB free/],
    ["a size too small", sized(100_000), /has \d+ bytes or more, and the hub's list says 100000/],
    ["a size too large", sized(3_000_000), /the hub's list says 3000000/],
    [
      "no transformer",
      (all) => all.filter(({ rfilename }) => !rfilename.startsWith("transformer/")),
      /holds no transformer\/ at main/,
    ],
  ];
  test.each(edits)("a list with %s", async (_, edit, reason) => {
    hub.editList = edit;
    expectRefused(await pullInside(), reason);
    expect(readdirSync(folder).filter((name) => name !== "weights" && name !== "home")).toEqual([]);
  });

  function named(rfilename: string) {
    return (all: ListEntry[]) => [...all, { rfilename, size: 3, blobId: "a".repeat(40) }];
  }
  function sized(size: number) {
    return (all: ListEntry[]) =>
      all.map((entry) =>
        entry.rfilename.startsWith("transformer/diff") && entry.lfs
          ? { ...entry, size, lfs: { ...entry.lfs, size } }
          : entry,
      );
  }
  function hashed(sha256: string) {
    return (all: ListEntry[]) =>
      all.map((entry) => (entry.lfs ? { ...entry, lfs: { ...entry.lfs, sha256 } } : entry));
  }

  test("a folder that leads out of the cache", async () => {
    const { commit } = hub.repository(turbo);
    mkdirSync(join(cache(), "snapshots", commit), { recursive: true });
    mkdirSync(join(folder, "elsewhere"));
    symlinkSync(join(folder, "elsewhere"), join(cache(), "snapshots", commit, "tokenizer"));
    expectRefused(await pullInside(), /leads out of the hub cache/);
    expect(readdirSync(join(folder, "elsewhere"))).toEqual([]);
  });

  test("a plain folder that would hide what is fetched, the demonstration, an unknown model", async () => {
    mkdirSync(join(weights(), turbo), { recursive: true });
    expect((await pull()).stderr).toMatch(/would hide what is fetched/);
    const demo = await start(["pull", "zimage", "--weights", "demo"]).ended;
    expect(demo).toMatchObject({ code: 2, stderr: expect.stringMatching(/come along/) });
    const unknown = await start(["pull", "zimage_tubro"]).ended;
    expect(unknown).toMatchObject({ code: 2, stderr: expect.stringMatching(/zimage_turbo/) });
    expect(hub.seen).toEqual([]);
  });

  test("a hub that is not there", async () => {
    const { code, stderr } = await pull({ HF_ENDPOINT: "http://no-such-host.invalid" });
    expect(code).toBeGreaterThan(0);
    expect(stderr).toMatch(/can't be read: the connection failed/);
    expect(stderr).not.toMatch(/ {4}at |fault in Retake/);
  });
});

describe("what passes is waited for", () => {
  const large = /^GET \/[0-9a-f]{64}\?/;
  const cases: [string, Omit<Fault, "times">, Record<string, string>][] = [
    ["429 names a time", { at: /revision/, status: 429, headers: { "retry-after": "2" } }, {}],
    ["429 for a file", { at: /resolve/, status: 429, headers: { "retry-after": "1" } }, {}],
    ["500", { at: /revision/, status: 500 }, {}],
    ["503 of the storage", { at: large, status: 503 }, {}],
    ["an old link to the storage", { at: large, status: 403 }, {}],
    ["a cut connection", { at: large, cutAt: 100_000 }, {}],
    ["a short body", { at: large, shorterBy: 1000 }, {}],
    ["silence", { at: large, stallAt: 100_000 }, { HF_HUB_DOWNLOAD_TIMEOUT: "1" }],
    ["wrong bytes once", { at: large, wrongBytes: true }, {}],
    ["wrong bytes of a small file", { at: /vae.config/, wrongBytes: true }, {}],
  ];
  test.each(cases)("%s", async (_, fault, env) => {
    hub.faults.push({ ...fault, times: 1 });
    expect(await pullInside(env)).toBeUndefined();
    expectWhole();
    if (fault.cutAt === undefined && fault.stallAt === undefined) return;
    const range = `bytes=${fault.cutAt ?? fault.stallAt}-`;
    const resumed = hub.seen.filter((seen) => seen.host === "storage" && seen.range !== undefined);
    expect(resumed.map((seen) => seen.range)).toEqual([range]);
  });

  test("not for ever: a hub that stays broken, or wants an hour", async () => {
    hub.faults.push({ at: /revision/, times: 1, status: 429, headers: { "retry-after": "3600" } });
    const hour = await pull();
    expect(hour).toMatchObject({ code: 1, stderr: expect.stringMatching(/Try again in 3600 s/) });
    hub.faults.push({ at: /revision/, times: 1000, status: 500 });
    const broken = await pullInside();
    expect(broken).toBeInstanceOf(TransferError);
    expect(String(broken)).toMatch(/ HTTP status 500\.$/);
    expect(hub.seen.length).toBeGreaterThan(3);
  });
});

test("Ctrl-C stops at once; what came is gone on with", async () => {
  hub.bytesPerSecond = 100_000;
  const { child, ended } = start(pullArgs());
  while (hub.sentBytes < 150_000) await wait(20);
  child.kill("SIGINT");
  expect(await ended).toEqual({ code: 130, stdout: "", stderr: "error: canceled\n" });
  hub.bytesPerSecond = 0;
  expect((await pull()).code).toBe(0);
  expect(hub.seen.filter(({ range }) => range !== undefined).length).toBeGreaterThan(0);
  expectWhole();
});

/** Pulls that begin while another one is in the middle of it, which goes on when they have said that they wait. */
async function waitForAnother(first: RetakeProcess, count: number): Promise<void> {
  const others = Array.from({ length: count }, () => start(pullArgs()));
  const waitingFor = (name: string) => `another process fetches ${name}: waiting for it\n`;
  const waiting = waitingFor(turbo);
  for (const { output, child } of others) {
    while (output.stderr !== waiting && child.exitCode === null) await wait(10);
  }
  hub.bytesPerSecond = 0;
  // Whoever comes to the adapter first, the others may have to wait for that too.
  const said = async ({ ended }: RetakeProcess) => {
    const { code, stderr } = await ended;
    return { code, stderr: stderr.replace(waitingFor(adapter), "") };
  };
  expect(await said(first)).toEqual({ code: 0, stderr: "" });
  for (const other of others) expect(await said(other)).toEqual({ code: 0, stderr: waiting });
  expectWhole();
  const files = hub.seen.filter(({ url }) => url.includes("/resolve/")).map(({ url }) => url);
  expect(new Set(files).size).toBe(files.length);
}

test("several pulls at once fetch each file once", async () => {
  hub.bytesPerSecond = 20_000;
  const first = start(pullArgs());
  while (hub.sentBytes === 0) await wait(10);
  await waitForAnother(first, 2);
});

test("a part that can't be gone on with is begun anew", async () => {
  const { files } = hub.repository(turbo);
  const { etag } = files.find(({ path }) => path.startsWith("transformer/diff"))!;
  const at = new RegExp(etag);
  hub.faults.push({ at, times: 1, cutAt: 100_000 }, { at, times: 1, status: 416 });
  expect(await pullInside()).toBeUndefined();
  expectWhole();
  const asked = hub.seen.filter(({ url }) => url.includes(`/${etag}`)).map(({ range }) => range);
  expect(asked).toEqual([undefined, "bytes=100000-", undefined]);
});

test("a lock file that is deleted in the middle of a pull changes nothing", async () => {
  hub.bytesPerSecond = 20_000;
  const first = start(pullArgs());
  const lock = join(weights(), ".locks", cacheName, "retake.lock");
  while (!existsSync(lock)) await wait(20);
  rmSync(lock);
  while (!existsSync(lock)) await wait(20);
  await waitForAnother(first, 1);
});

test("a cache that is deleted in the middle of a pull is fetched again", async () => {
  hub.bytesPerSecond = 400_000;
  const { ended } = start(pullArgs());
  while (hub.sentBytes < 100_000) await wait(20);
  rmSync(weights(), { recursive: true, maxRetries: 10 });
  expect(await ended).toMatchObject({ code: 0, stderr: "" });
  expectWhole();
});

test("a file of another length is fetched again, one that Python left whole is not", async () => {
  expect(await pullInside()).toBeUndefined();
  const { commit, files } = hub.repository(turbo);
  const [vae] = files.filter(({ path }) => path.startsWith("vae/diff"));
  truncateSync(join(cache(), "blobs", vae!.etag), 1000);
  // As after a download of other files: Python notes the revision first.
  rmSync(join(cache(), "snapshots", commit, "tokenizer"), { recursive: true });
  hub.seen.length = 0;
  expect(await pullInside()).toBeUndefined();
  expectWhole();
  expect(hub.seen.filter(({ host }) => host === "storage").map(({ url }) => url)).toEqual([
    `/${vae!.etag}?Signature=s3cret`,
  ]);
});

test("offline it says what is missing and asks nobody", async () => {
  const empty = await pull({}, "--offline");
  expect(empty).toMatchObject({ code: 2, stdout: "" });
  expect(empty.stderr).toMatch(
    /zimage_turbo transformer\/ of Tongyi-MAI\/Z-Image-Turbo is missing/,
  );
  expect(hub.seen).toEqual([]);
  expect(existsSync(weights())).toBe(false);
  expect((await pull()).code).toBe(0);
  hub.seen.length = 0;
  expect(await pull({ HF_HUB_OFFLINE: "1" })).toMatchObject({ code: 0, stderr: "" });
  rmSync(join(weights(), "models--ostris--zimage_turbo_training_adapter"), { recursive: true });
  const without = await pull({ HF_HUB_OFFLINE: "1" }, "--json");
  expect(without).toMatchObject({
    code: 0,
    stderr: expect.stringMatching(/^warning: .*--as-trained/),
  });
  expect(JSON.parse(without.stdout).result.without).toMatchObject([{ repository: adapter }]);
  rmSync(join(cache(), "snapshots", hub.repository(turbo).commit, "vae/config.json"));
  expect((await pull({ HF_HUB_OFFLINE: "1" })).stderr).toMatch(/vae\/ of \S+ is incomplete/);
  expect(hub.seen).toEqual([]);
});

test("the token that hf auth login kept is found, and named by HF_TOKEN_PATH", async () => {
  hub.token = token;
  mkdirSync(join(folder, "hf"));
  writeFileSync(join(folder, "hf/token"), `${token}\n`);
  expectRefused(await pullInside(), /HTTP status 401/);
  expect(await pullInside({ HF_HOME: join(folder, "hf") })).toBeUndefined();
  expect(await pullInside({ HF_TOKEN_PATH: join(folder, "hf/token") })).toBeUndefined();
  expectWhole();
});
