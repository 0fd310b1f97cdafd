// The suites that compute, on a device and with each way to hold the weights, and a table of how far
// they are from the reference: `npm run test:devices`. `--quick` is the part that `npm test` runs.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { findSwiftShader, insideTree, lavapipeTree, onlyDriver } from "./software-vulkan.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

const allStorages = "original,f32,f16,int8";

const help = `npm run test:devices [-- OPTIONS] [FILES]

  Without options: every suite that computes, on lavapipe, a Vulkan device that computes on the CPU.
  It runs in a Debian tree that debootstrap makes once: on Linux on x64, as root.

  --device NAME     on that device of this machine instead: webgpu, cuda, dml
  --storages A,B    how weights are held; without it ${allStorages}
  --tree FOLDER     the Debian tree; without it retake/lavapipe in the user's cache
  --mirror URL      Debian's mirror for the tree; without it debootstrap's own
  --quick           a few tests of each kind, on the SwiftShader of Debian's Chromium
`;

/** For `--quick`, so that each kind of graph is run, and each kind of weight in the graphs that read it. */
const quick: Readonly<Record<string, readonly string[]>> = {
  f32: ["test/shapes.test.ts", "test/stages.test.ts"],
  int8: ["test/lora-formats.test.ts", "test/whole-path.test.ts"],
};

/** Where tests run. */
interface Place {
  readonly words: string;
  readonly device: string;
  /** What tells the Vulkan loader of the device. */
  readonly env: Readonly<Record<string, string>>;
  /** The command that runs Node there. */
  readonly node: (args: readonly string[]) => readonly string[];
}

interface Cell {
  readonly passed: number;
  readonly total: number;
  /** Of the reference's largest value; null where a suite compares nothing so. */
  readonly difference: number | null;
}

process.exitCode = main();

function main(): number {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      device: { type: "string" },
      storages: { type: "string" },
      tree: { type: "string" },
      mirror: { type: "string" },
      quick: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  const place = values.quick ? onSwiftShader() : placeOf(values);
  if (place === null) return 0;
  const plan = values.quick ? quick : planOf(values.storages ?? allStorages, positionals);
  process.stderr.write(`Tests on ${place.words}, weights as ${Object.keys(plan).join(", ")}.\n`);
  const scratch = mkdtempSync(join(root, "node_modules", ".device-tests-"));
  try {
    const columns = new Map<string, ReadonlyMap<string, Cell>>();
    let failed = false;
    for (const [storage, files] of Object.entries(plan)) {
      const { cells, status } = runSuites(files, place, storage, values.quick, scratch);
      columns.set(storage, cells);
      failed ||= status !== 0;
    }
    process.stdout.write(table(place.words, columns));
    return failed ? 1 : 0;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Files to run by storage. What knows no storage runs once. */
function planOf(storages: string, asked: readonly string[]): Record<string, string[]> {
  const files = asked.length > 0 ? asked : suites();
  const plan = storages
    .split(",")
    .map((storage, i) => [storage, files.filter((file) => i === 0 || readsStorage(file))] as const);
  return Object.fromEntries(plan.filter(([, chosen]) => chosen.length > 0));
}

function onSwiftShader(): Place | null {
  const found = findSwiftShader();
  if ("manifest" in found) {
    const words = "SwiftShader (WebGPU on the CPU)";
    return { words, device: "webgpu", env: onlyDriver(found.manifest), node: onThisNode };
  }
  process.stderr.write(
    `Skipped: WebGPU on a software device. It needs ${found.missing}: stages, whole runs, LoRAs, ` +
      "8 bits and the VAE ran on the CPU alone.\n",
  );
  return null;
}

function placeOf(values: { device?: string; tree?: string; mirror?: string }): Place {
  const { device, mirror } = values;
  if (device !== undefined) return { words: device, device, env: {}, node: onThisNode };
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache");
  const tree = lavapipeTree(values.tree ?? join(cache, "retake", "lavapipe"), mirror);
  return {
    words: "lavapipe (WebGPU on the CPU)",
    device: "webgpu",
    env: { ...onlyDriver(tree.manifest), TMPDIR: "/tmp" },
    node: (args) => insideTree(tree, root, args),
  };
}

function onThisNode(args: readonly string[]): string[] {
  return [process.execPath, ...args];
}

/** The test files that take their device from RETAKE_TEST_DEVICES. */
function suites(): string[] {
  return ["src", "test"]
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).map((name) =>
        join(folder, name),
      ),
    )
    .filter((file) => file.endsWith(".test.ts"))
    .filter((file) =>
      /\b(?:testDevices|testRuns|unroundedRuns)\b|golden-loras\.ts"/.test(textOf(file)),
    )
    .toSorted();
}

function readsStorage(file: string): boolean {
  return /\b(?:testRuns|unroundedRuns)\b|golden-loras\.ts"/.test(textOf(file));
}

function textOf(file: string): string {
  return readFileSync(join(root, file), "utf8");
}

/** What vitest's JSON reporter writes, as far as it is read here. */
interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

/** Runs suites with one storage, one after the other: a device has one user at a time. */
function runSuites(
  files: readonly string[],
  { device, env, node }: Place,
  storage: string,
  isQuick: boolean,
  scratch: string,
): { readonly cells: ReadonlyMap<string, Cell>; readonly status: number } {
  const [report, notes] = [join(scratch, "report.json"), join(scratch, "differences.jsonl")];
  for (const file of [report, notes]) rmSync(file, { force: true });
  const [command, ...args] = node([
    ...[join("node_modules", "vitest", "vitest.mjs"), "run", "--maxWorkers=1", ...files],
    ...["--reporter=default", "--reporter=json", `--outputFile.json=${report}`],
  ]);
  const { status, error } = spawnSync(command!, args, {
    cwd: root,
    stdio: ["ignore", 2, 2],
    env: {
      ...process.env,
      ...env,
      RETAKE_TEST_DEVICES: device,
      RETAKE_TEST_STORAGES: storage,
      RETAKE_TEST_DIFFERENCES: notes,
      ...(isQuick ? { RETAKE_TEST_FEW: "1" } : {}),
    },
  });
  if (error !== undefined) throw error;
  const cells = new Map<string, Cell>();
  const largest = largestDifferences(notes);
  const { testResults }: Report = existsSync(report)
    ? JSON.parse(readFileSync(report, "utf8"))
    : { testResults: [] };
  for (const { name, assertionResults } of testResults) {
    const ran = assertionResults.filter(({ status }) => ["passed", "failed"].includes(status));
    const passed = ran.filter(({ status }) => status === "passed").length;
    const difference = largest.get(name) ?? null;
    cells.set(relative(root, name), { passed, total: ran.length, difference });
  }
  return { cells, status: status ?? 1 };
}

/** By test file, from what test/matchers.ts notes. */
function largestDifferences(notes: string): Map<string, number> {
  const largest = new Map<string, number>();
  if (!existsSync(notes)) return largest;
  for (const line of readFileSync(notes, "utf8").trim().split("\n")) {
    const { file, difference }: { file: string; difference: string } = JSON.parse(line);
    // Written so that NaN wins over every number.
    if (!(Number(difference) <= (largest.get(file) ?? 0))) largest.set(file, Number(difference));
  }
  return largest;
}

function table(words: string, columns: ReadonlyMap<string, ReadonlyMap<string, Cell>>): string {
  const files = new Set([...columns.values()].flatMap((cells) => [...cells.keys()]));
  const rows = [...files].map((file) => [
    file,
    ...[...columns.values()].map((cells) => cellText(cells.get(file))),
  ]);
  const lines = [
    [`On ${words}: tests passed, largest difference of scale`, ...columns.keys()],
    ["---", ...[...columns].map(() => "---")],
    ...rows,
  ];
  return `${lines.map((line) => `| ${line.join(" | ")} |`).join("\n")}\n`;
}

function cellText(cell: Cell | undefined): string {
  if (cell === undefined) return "";
  const far = cell.difference === null ? "" : `, ${cell.difference.toExponential(1)}`;
  return `${cell.passed} of ${cell.total}${far}`;
}
