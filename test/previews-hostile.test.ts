import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { jobFolders } from "./job-folders.ts";
import { TestServer } from "./test-server.ts";

// Job folders below the LoRA folder that somebody broke, or made to get at something.

const folder = mkdtempSync(join(tmpdir(), "retake-hostile-jobs-"));
const loras = join(folder, "loras");
const outside = join(folder, "outside");
let server: TestServer;
beforeAll(async () => {
  mkdirSync(loras, { recursive: true });
  cpSync(join(jobFolders, "e2-lokr"), outside, { recursive: true });
  server = await TestServer.start(join(folder, "server"), { WORKFLOWS_BASE_PATH: loras });
});
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

let jobs = 0;
/** A whole job, changed. @returns what a request writes as folder */
function job(change: (root: string) => void): string {
  const name = `job-${jobs++}`;
  cpSync(outside, join(loras, name), { recursive: true });
  change(join(loras, name));
  return name;
}
const ask = (body: object) => server.call("POST", "/v1/previews", body);
const config = readFileSync(join(jobFolders, "e2-lokr", "config.yaml"), "utf8");
const writeConfig = (text: string) => (root: string) =>
  writeFileSync(join(root, "config.yaml"), text);
const lora = "e2-lokr_000000002.safetensors";

test.each([
  "../outside",
  "/etc",
  outside,
  "none",
  "job\0",
  ".",
  "",
  "x/../../outside",
  "..\\outside",
  "file.txt",
  "link-out",
])("the folder %j is not there", async (path) => {
  writeFileSync(join(loras, "file.txt"), "x");
  rmSync(join(loras, "link-out"), { force: true });
  symlinkSync(outside, join(loras, "link-out"));
  const { status, body } = await ask({ folder: path });
  expect([status, body.detail.error.code]).toEqual([400, "JOB_NOT_FOUND"]);
  expect(body.detail.error.details).toEqual({ folder: path });
  if (path !== outside) expect(JSON.stringify(body)).not.toContain(folder);
});

const aliases = Array.from({ length: 20 }, (_, i) => {
  const [from, to] = [String.fromCharCode(97 + i), String.fromCharCode(98 + i)];
  return `${to}: &${to} [${Array(10).fill(`*${from}`).join(",")}]`;
});
test.each<[string, (root: string) => void]>([
  ["no configuration", (root) => rmSync(join(root, "config.yaml"))],
  ["a configuration of aliases", writeConfig(["a: &a [1]", ...aliases].join("\n"))],
  ["a configuration that leads back to itself", writeConfig("config: &a {name: x, process: [*a]}")],
  ["a configuration of 20 MB", writeConfig(`# ${"x".repeat(20_000_000)}`)],
  [
    "a configuration that is no text",
    (root) => writeFileSync(join(root, "config.yaml"), Buffer.from([0xff, 0, 1])),
  ],
  ["a configuration of another model", writeConfig(config.replace("arch: zimage", "arch: flux"))],
  [
    "a configuration that is a folder",
    (root) => {
      rmSync(join(root, "config.yaml"));
      mkdirSync(join(root, "config.yaml"));
    },
  ],
  [
    "a configuration elsewhere",
    (root) => {
      rmSync(join(root, "config.yaml"));
      symlinkSync(join(outside, "config.yaml"), join(root, "config.yaml"));
    },
  ],
  ["no previews", (root) => rmSync(join(root, "samples"), { recursive: true })],
  [
    "previews elsewhere",
    (root) => {
      rmSync(join(root, "samples"), { recursive: true });
      symlinkSync(join(outside, "samples"), join(root, "samples"));
    },
  ],
  [
    "10,000 previews",
    (root) => {
      for (let i = 0; i < 10_000; i++)
        writeFileSync(join(root, "samples", `1__${String(i).padStart(9, "0")}_0.jpg`), "");
    },
  ],
])("%s is said at once", async (_, change) => {
  const name = job(change);
  let answered = false;
  const asking = ask({ folder: name }).finally(() => {
    answered = true;
  });
  // Others are answered while it is read.
  expect((await server.call("GET", "/health")).status).toBe(200);
  expect(answered).toBe(false);
  const { status, body } = await asking;
  expect([status, body.detail.error.code]).toEqual([400, "JOB_NOT_USABLE"]);
  expect(body.detail.error.message).not.toContain(folder);
  // What only the command line has is named as such.
  const plain = body.detail.error.message.replace(/\(on the command line[^)]*\)/, "");
  expect(plain).not.toMatch(/--\w/);
});

test("steps and samples that are not there are said at once", async () => {
  const name = job(() => {});
  for (const body of [{ steps: [3] }, { samples: [9] }]) {
    const answer = await ask({ folder: name, ...body });
    expect([answer.status, answer.body.detail.error.code]).toEqual([400, "JOB_NOT_USABLE"]);
    expect(answer.body.detail.error.message).toMatch(/^(step 3|sample 9): the job has no previews/);
  }
});

/** Takes all previews of a changed job again. @returns its report */
async function reportOf(change: (root: string) => void) {
  const { body } = await ask({ folder: job(change) });
  const result = await server.ended(body.request_id);
  expect(result.status).toBe("succeeded");
  expect(JSON.stringify(result)).not.toContain(folder);
  return result.outputs.report;
}

test("a LoRA, or a preview, that is a link out of the folder is not read", async () => {
  const report = await reportOf((root) => {
    rmSync(join(root, lora));
    symlinkSync(join(outside, lora), join(root, lora));
    const [first] = ["1795599759490__000000000_0.jpg"];
    renameSync(join(root, "samples", first!), join(folder, "moved.jpg"));
    symlinkSync(join(folder, "moved.jpg"), join(root, "samples", first!));
  });
  expect(report.samples).toHaveLength(5);
  const verdicts = report.samples
    .filter(({ step }: { step: number }) => step === 2)
    .map(({ verdict }: { verdict: string }) => verdict);
  expect(verdicts).toEqual(["not reproducible", "not reproducible"]);
});

test("what is broken is said with its picture, and the others are taken", async () => {
  const report = await reportOf((root) => {
    writeFileSync(join(root, lora), "<!doctype html>");
    writeFileSync(
      join(root, "samples", "1795599767428__000000004_0.jpg"),
      Buffer.from([0xff, 0xd8]),
    );
  });
  const [cut, whole] = ["_0.jpg", "_1.jpg"].map((end) =>
    report.samples.find(({ preview }: { preview: string }) => preview.endsWith(`000000004${end}`)),
  );
  expect(whole.verdict).toBe("equal");
  expect(cut.verdict).toBe("not reproducible");
  expect(cut.reason).toMatch(/samples\/1795599767428__000000004_0\.jpg/i);
});
