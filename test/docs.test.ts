import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestHub } from "./hub-server.ts";
import { profileLine } from "./retake-process.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const pages = [
  "README.md",
  ...readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name.replaceAll("\\", "/")}`),
];

/** Commands that a reader can run on a fresh clone; what needs the reader's LoRA names `my-lora`. */
const commands = new Map<string, string[]>();
for (const page of pages) {
  const blocks = readFileSync(join(root, page), "utf8").matchAll(/```sh\n(.*?)```/gs);
  for (const line of [...blocks].flatMap(([, block]) => block!.split("\n"))) {
    if (!line.startsWith("bin/retake") || line.includes("my-lora")) continue;
    commands.set(line, [...(commands.get(line) ?? []), page]);
  }
}

let folder: string;
/** Has the demonstration's weights under the real repositories' names. */
let hub: TestHub;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-docs-"));
  symlinkSync(join(root, "bin"), join(folder, "bin"));
  symlinkSync(join(root, "demo"), join(folder, "demo"));
  // The first run after `npm install` says that it installs: what it checks once isn't a page's fault.
  spawnSync(join(root, "bin", "retake"), ["--version"]);
  const repositories = [
    "Tongyi-MAI/Z-Image",
    "Tongyi-MAI/Z-Image-Turbo",
    "ostris/Z-Image-De-Turbo",
    "ostris/zimage_turbo_training_adapter",
  ];
  hub = await TestHub.start(
    Object.fromEntries(repositories.map((name) => [name, join(root, "demo/weights", name)])),
  );
});
afterAll(async () => {
  await hub.close();
  rmSync(folder, { recursive: true });
});

/** What `auto` comes to on this machine, and how weights are held. */
const choiceLine = /^(?:device|storage) .*\n/gm;

test("the pages hold commands", () => expect(commands.size).toBeGreaterThan(5));

test.each([...commands])("%s (%s)", async (command) => {
  const env = {
    ...process.env,
    // Without it, each command would start this machine's Node, and that one another.
    PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
    ...hub.env,
    HF_HOME: join(folder, "hf"),
    RETAKE_CACHE: join(folder, "cache"),
  };
  const ended = await new Promise((done) => {
    execFile("sh", ["-c", command], { cwd: folder, env }, (error, _stdout, stderr) =>
      done({ status: error?.code ?? 0, stderr: stderr.replaceAll(choiceLine, "") }),
    );
  });
  const chooses = command.startsWith("bin/retake generate") && !command.includes("--profile");
  const stderr = chooses ? profileLine : /^$/;
  expect(ended).toEqual({ status: 0, stderr: expect.stringMatching(stderr) });
});
