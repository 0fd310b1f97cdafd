import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { prepareQueue } from "./prepared.ts";
import { profileLine, startRetake } from "./retake-process.ts";
import { environmentIn } from "./server-process.ts";

// What `npm pack` makes, in a project of its own. Only the dependencies that package.json names lie
// beside it, without the optional ones: a package that is used but not named is not found.
const root = fileURLToPath(new URL("..", import.meta.url));
const tsc = join(root, "node_modules", "typescript", "bin", "tsc");

interface Manifest {
  readonly version: string;
  readonly engines: { readonly node: string };
  readonly dependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
}
const manifest: Manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

let project: string;
let installed: string;
beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), "retake-project-"));
  const [packed] = JSON.parse(
    execFileSync("npm", ["pack", "--json", "--pack-destination", project], {
      cwd: root,
      encoding: "utf8",
      // Where a test runs under npm, its settings for itself must not reach this one.
      env: { PATH: process.env.PATH, HOME: process.env.HOME },
    }).replace(/^[^[{]*/, ""),
  );
  installed = join(project, "node_modules", "retake");
  mkdirSync(installed, { recursive: true });
  execFileSync("tar", ["xzf", join(project, packed.filename), "-C", installed, "--strip=1"]);
  for (const name of [...Object.keys(manifest.dependencies), "@types/node", "undici-types"]) {
    const link = join(project, "node_modules", name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(root, "node_modules", name), link);
  }
  writeFileSync(join(project, "package.json"), '{"type":"module","private":true}');
}, 120_000);
afterAll(() => rmSync(project, { recursive: true }));

function retake(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return spawnSync(process.execPath, [join(installed, "bin", "retake"), ...args], {
    cwd: project,
    env: { PATH: process.env.PATH, HOME: project, ...env },
    encoding: "utf8",
  });
}

test("the pages' programs compile with its types, and draw their pictures", async () => {
  const pages = ["README.md", "docs/library.md"].map((page) =>
    readFileSync(join(root, page), "utf8"),
  );
  const programs = [...pages.join("\n").matchAll(/```ts\n(.*?)```/gs)].map(
    ([, program]) => program!,
  );
  // The last needs the hub.
  expect(programs).toHaveLength(3);
  for (const [i, program] of programs.entries())
    writeFileSync(join(project, `program${i}.ts`), program);
  const options = ["--strict", "--module", "nodenext", "--target", "es2024", "--types", "node"];
  const libraries = ["--lib", "esnext", "--exactOptionalPropertyTypes"];
  const files = programs.map((_, i) => `program${i}.ts`);
  const compiled = spawnSync(process.execPath, [tsc, ...options, ...libraries, ...files], {
    cwd: project,
    encoding: "utf8",
  });
  expect(compiled.stdout).toBe("");
  expect(compiled.status).toBe(0);
  const said = ["program0.js", "program1.js"].map((file) => {
    rmSync(join(project, "circle.png"), { force: true });
    const run = spawnSync(process.execPath, [file], { cwd: project, encoding: "utf8" });
    expect(run.stderr).toBe("");
    expect(run.status).toBe(0);
    return { ...run, picture: readFileSync(join(project, "circle.png")) };
  });
  for (const { picture } of said)
    expect(await sharp(picture).metadata()).toMatchObject({ width: 256, height: 256 });
  expect(said[1]!.stdout).toMatch(/^step 1 of \d+\n/);
});

test("the command draws, tells its version and describes a LoRA", async () => {
  expect(retake(["--version"]).stdout).toBe(`${manifest.version}\n`);
  const args = ["generate", "--prompt", "a star", "--width", "64", "--height", "64", "--steps"];
  const { stderr, stdout } = retake([...args, "2", "--out", "star.png"]);
  expect(stderr).toMatch(profileLine);
  expect(stdout).toBe("star.png\n");
  expect((await sharp(join(project, "star.png")).metadata()).width).toBe(64);
  const lora = join(installed, "demo", "loras", "zorple.safetensors");
  expect(JSON.parse(retake(["lora", lora, "--json"]).stdout).network).toBe("LoRA");
});

test("the command takes a job's preview again, and writes the report's page", () => {
  const job = join(installed, "demo", "job");
  const args = ["preview", job, "--step", "0", "--sample", "0", "--report", "report", "--json"];
  const { samples } = JSON.parse(retake(args).stdout);
  expect(samples).toMatchObject([{ step: 0, index: 0, verdict: "equal" }]);
  expect(readFileSync(join(project, "report", "report.html"), "utf8")).toMatch(/<\/html>\s*$/);
});

test("the server draws for a client, in a process of the package's own", async () => {
  const folder = join(project, "server");
  mkdirSync(folder);
  await prepareQueue(environmentIn(folder).RETAKE_DATA!);
  const program = join(installed, "bin", "retake");
  const server = startRetake(["serve"], { cwd: folder, env: environmentIn(folder), program });
  try {
    await expect.poll(() => server.output.stdout, { timeout: 60_000 }).toContain("\n");
    const url = /http:\/\/\S+/.exec(server.output.stdout)![0];
    const prompts = [{ prompt: "a star", width: 64, height: 64, sample_steps: 2 }];
    const answer = await fetch(`${url}/v1/inference`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        model: "zimage_deturbo",
        loras: [{ path: "zorple.safetensors" }],
        prompts,
      }),
    });
    const { status_url }: { status_url: string } = JSON.parse(await answer.text());
    const state = async () => (await fetch(status_url)).text();
    await expect.poll(state, { timeout: 60_000 }).toContain('"status":"succeeded"');
  } finally {
    server.child.kill("SIGTERM");
  }
  expect((await server.ended).code).toBe(0);
});

test("doctor, which starts a process of its own, finds the CPU", () => {
  const { machine } = JSON.parse(retake(["doctor", "--json"]).stdout);
  expect(machine.devices[0]).toMatchObject({ name: "cpu", problem: null });
});

test.each([
  ["OUTPUT_BASE_PATH", { OUTPUT_BASE_PATH: "s3://bucket" }, "@aws-sdk/client-s3"],
  ["RETAKE_UPLOADS", { RETAKE_UPLOADS: "s3://bucket" }, "@aws-sdk/client-s3"],
  [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9" },
    "@opentelemetry/sdk-node",
  ],
])("%s says what it needs and how to add it", async (setting, env, name) => {
  if (!existsSync(environmentIn(project).RETAKE_DATA!))
    await prepareQueue(environmentIn(project).RETAKE_DATA!);
  const { stderr, status } = retake(["serve"], { ...environmentIn(project), ...env });
  expect(status).toBe(2);
  expect(stderr).toContain(setting);
  expect(stderr).toContain(`npm install ${name}@${manifest.peerDependencies[name]}`);
});

test("a Node that is too old is told so", () => {
  const older = `Object.defineProperty(process, "versions", { value: { node: "20.20.2" } })`;
  const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(older)}`;
  const { stderr, status } = retake(["--version"], { NODE_OPTIONS });
  expect(status).toBe(1);
  expect(stderr).toBe(
    `error: Retake needs Node ${manifest.engines.node.slice(2)} or newer; this is 20.20.2. Install Node 24.\n`,
  );
});
