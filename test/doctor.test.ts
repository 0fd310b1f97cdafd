import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { goldenFolder } from "./golden.ts";
import { TestHub } from "./hub-server.ts";
import { startRetake } from "./retake-process.ts";

const turbo = "Tongyi-MAI/Z-Image-Turbo";
const store = join(goldenFolder, "tiny/store");
const token = "hf_test0123456789abcdef";

let folder: string;
let pulled: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-doctor-"));
  pulled = join(folder, "pulled");
  const hub = await TestHub.start({ [turbo]: join(store, turbo) });
  expect(await retake(["pull", "zimage_turbo", "--weights", pulled], hub.env)).toMatchObject({
    code: 0,
  });
  await hub.close();
});
afterAll(() => rmSync(folder, { recursive: true }));

const retake = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  startRetake(args, { cwd: folder, env }).ended;

interface Part {
  readonly name: string;
  readonly state: string;
  readonly problem: string | null;
}

/** Which parts are in which state, and what is said of them. */
async function doctor(weights: string, ...args: string[]) {
  const { code, stdout, stderr } = await retake([
    "doctor",
    "zimage_turbo",
    "--weights",
    weights,
    "--json",
    ...args,
  ]);
  expect(stderr).toBe("");
  const report = JSON.parse(stdout);
  const parts: Part[] = report.models[0].components;
  const states = Object.fromEntries(parts.map(({ name, state }) => [name, state]));
  const problems = parts.flatMap(({ problem }) => problem ?? []).join("\n");
  return { code, report, states, problems };
}

const allThere = {
  tokenizer: "there",
  text_encoder: "there",
  transformer: "there",
  vae: "there",
  scheduler: "there",
};

test("the demonstration can run, and the machine is described", async () => {
  const { code, stdout, stderr } = await retake(["doctor"], { HF_TOKEN: token });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  for (const model of ["zimage", "zimage_turbo", "zimage_deturbo"]) {
    expect(stdout).toContain(`${model}: can run\n`);
  }
  expect(stdout).toMatch(
    /memory {8}4\.3 MB of weights, 602\.0 MB to work with at 1024x1024: fits\n/,
  );
  expect(stdout).toMatch(
    /device {8}auto takes \w+: .+\n +device {8}cpu: works; .+ GB shared with the processor\n/,
  );
  expect(stdout).toMatch(/ONNX Runtime 1\.\d+\.\d+\n/);
  expect(stdout).toMatch(/, with a token\n/);
  expect(stdout).not.toContain(token);
});

test("what was pulled is whole, also when every byte is read", async () => {
  for (const args of [[], ["--deep"]]) {
    const { code, report, states } = await doctor(pulled, ...args);
    expect({ code, states }).toEqual({ code: 0, states: allThere });
    const { models, machine } = report;
    expect(models[0].can_run).toBe(true);
    // Its safetensors files, without their headers.
    expect(models[0].memory.weight_bytes).toBeGreaterThan(2_300_000);
    expect(models[0].memory.weight_bytes).toBeLessThan(2_469_700);
    expect(machine.available_bytes).toBeLessThanOrEqual(machine.memory_bytes);
    expect(machine.devices[0]).toMatchObject({ name: "cpu", problem: null, is_software: false });
    expect(machine.device.reason).toMatch(/./);
    const working = machine.devices.filter(
      ({ name, problem }: { name: string; problem: string | null }) =>
        name !== "cpu" && problem === null,
    );
    expect(models[0].storages.map(({ device }: { device: string }) => device)).toEqual(
      working.map(({ name }: { name: string }) => name),
    );
  }
});

describe("what is in the way, part by part; exit code 2", () => {
  const snapshotFile = (weights: string, path: string) => {
    const snapshots = join(weights, "models--Tongyi-MAI--Z-Image-Turbo/snapshots");
    return join(snapshots, readdirSync(snapshots)[0]!, path);
  };
  const blobOf = (weights: string, path: string) => {
    const link = snapshotFile(weights, path);
    return join(dirname(link), readlinkSync(link));
  };
  const transformer = "transformer/diffusion_pytorch_model.safetensors";
  const cases: [string, (weights: string) => void, object, RegExp, string[]][] = [
    [
      "a blob that a killed pull did not bring",
      (weights) => rmSync(blobOf(weights, transformer)),
      { transformer: "incomplete" },
      /neither .*retake pull zimage_turbo/,
      [],
    ],
    [
      "no tokenizer file",
      (weights) => rmSync(snapshotFile(weights, "tokenizer/tokenizer.json")),
      { tokenizer: "incomplete" },
      /tokenizer\.json .*retake pull zimage_turbo/,
      [],
    ],
    [
      "no folder",
      (weights) => rmSync(snapshotFile(weights, "vae"), { recursive: true }),
      { vae: "missing" },
      /vae.config\.json .*retake pull zimage_turbo/,
      [],
    ],
    [
      "a file that was cut off",
      (weights) => {
        const blob = blobOf(weights, transformer);
        writeFileSync(blob, readFileSync(blob).subarray(0, 100_000));
      },
      { transformer: "damaged" },
      /cut off/,
      [],
    ],
    [
      "one flipped bit",
      (weights) => {
        const blob = blobOf(weights, transformer);
        const bytes = readFileSync(blob);
        bytes[1_000_000]! ^= 1;
        writeFileSync(blob, bytes);
      },
      { transformer: "damaged" },
      /other bytes than it should have .*Delete .*blobs.[0-9a-f]{64} and pull again/,
      ["--deep"],
    ],
    [
      "a small file that was edited",
      (weights) => {
        const blob = blobOf(weights, "vae/config.json");
        writeFileSync(blob, `${readFileSync(blob, "utf8").trimEnd()} \n`);
      },
      { vae: "damaged" },
      /config\.json holds other bytes/,
      ["--deep"],
    ],
  ];
  test.each(cases)("%s", async (_, harm, states, reason, args) => {
    const weights = mkdtempSync(join(folder, "harmed-"));
    cpSync(pulled, weights, { recursive: true, verbatimSymlinks: true });
    harm(weights);
    if (args.length > 0) expect((await doctor(weights)).code).toBe(0);
    const found = await doctor(weights, ...args);
    expect(found.code).toBe(2);
    expect(found.states).toEqual({ ...allThere, ...states });
    expect(found.problems).toMatch(reason);
    expect(found.report.models[0]).toMatchObject({ can_run: false, memory: null });
  });

  test("NaN in a folder whose files nobody named by their hash", async () => {
    const weights = mkdtempSync(join(folder, "plain-"));
    cpSync(store, weights, { recursive: true });
    const file = join(weights, turbo, transformer);
    const bytes = readFileSync(file);
    bytes.fill(0xff, bytes.length - 4096);
    writeFileSync(file, bytes);
    expect((await doctor(weights)).code).toBe(0);
    const { code, states, problems } = await doctor(weights, "--deep");
    expect({ code, states }).toEqual({ code: 2, states: { ...allThere, transformer: "damaged" } });
    expect(problems).toMatch(/tensor \S+ holds NaN/);
  });

  test("a model that is not there; without a name, another that is there suffices", async () => {
    const both = await retake(["doctor", "zimage_turbo", "zimage", "--weights", pulled]);
    expect(both).toMatchObject({ code: 2, stderr: "" });
    expect(both.stdout).toMatch(/zimage_turbo: can run\n/);
    expect(both.stdout).toMatch(/zimage: can't run\n( .*\n)*.*Fetch it: retake pull zimage, /);
    expect((await retake(["doctor", "--weights", pulled])).code).toBe(0);
    const nothing = await retake(["doctor", "--weights", join(folder, "nothing")]);
    expect(nothing).toMatchObject({ code: 2, stderr: "" });
    expect(existsSync(join(folder, "nothing"))).toBe(false);
  });
});

test("a folder that can't be written to is named with its setting", async () => {
  writeFileSync(join(folder, "file"), "");
  const { stdout } = await retake(["doctor"], { OUTPUT_BASE_PATH: join(folder, "file/out") });
  expect(stdout).toMatch(/OUTPUT_BASE_PATH \S+file.out: can't be written to/);
  expect(stdout).toMatch(/RETAKE_DATA \S+: can be written to/);
  const badPort = await retake(["doctor"], { PORT: "tty" });
  expect(badPort).toMatchObject({ code: 0, stderr: "" });
  expect(badPort.stdout).toMatch(/settings {6}.*PORT: takes a whole number from 0 to 65535/);
});
