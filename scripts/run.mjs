// The project's commands, self-sufficient on a fresh clone: `node scripts/run.mjs start|test|test:devices|check|build|bench`.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { findNode, installDependencies, root, run } from "./runtime.mjs";

const tool = (...path) => join(root, "node_modules", ...path);
const build = [tool("typescript", "bin", "tsc"), "-p", "tsconfig.build.json"];
const devices = join(root, "scripts", "test-devices.ts");
const checks = [
  [tool("@biomejs", "biome", "bin", "biome"), "ci", "."],
  [tool("typescript", "bin", "tsc")],
  [tool("typescript", "bin", "tsc"), "-p", "report"],
  [tool("knip", "bin", "knip.js")],
  build,
  [tool("publint", "src", "cli.js"), "--pack", "false", "--strict"],
];
const commands = {
  start: () => [[join(root, "src", "cli", "main.ts"), "serve"]],
  check: () => checks,
  build: () => [build],
  // A part of the tests, given by its files, has no part on a software device.
  test: (rest) => [
    ...checks,
    [tool("vitest", "vitest.mjs"), "run"],
    ...(rest.length === 0 ? [[devices, "--quick"]] : []),
  ],
  "test:devices": () => [[devices]],
  bench: () => [[join(root, "bench", "main.ts")]],
};

const [name, ...rest] = process.argv.slice(2);
if (!Object.hasOwn(commands, name)) {
  process.stderr.write(`usage: node scripts/run.mjs ${Object.keys(commands).join("|")}\n`);
  process.exit(2);
}
process.chdir(root);
installDependencies({ withDev: name !== "start" });
const node = findNode();
const programs = commands[name](rest);
// What a file that is gone was compiled to must not stay in the package.
if (programs.includes(build)) rmSync(join(root, "dist"), { recursive: true, force: true });
if (name === "test" && rest.length === 0) {
  process.stderr.write(
    "Format, lint, types, unused code and the package are checked, then every test runs: about five minutes on two idle cores, and one or two more for WebGPU on a software device.\n",
  );
}
for (const [index, program] of programs.entries()) {
  // Arguments after the command go to its last program: `npm test -- src/lora`.
  const args = index === programs.length - 1 ? [...program, ...rest] : program;
  const code = await run(node, args);
  if (code !== 0) process.exit(code);
}
