import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { profileNames } from "../src/job/request.ts";
import { profiles } from "../src/models/profiles.ts";

test("docs/models.md prints the table of profiles", () => {
  const page = readFileSync(new URL("../docs/models.md", import.meta.url), "utf8");
  const printed = page
    .split("\n")
    .filter((line) => /^\| `(reference|diffusers|preview-)/.test(line));
  const rows = profileNames.map((name) => {
    const { versions, schedule, divisor, otherSizes, guidance, guidedAbove } = profiles[name];
    const last = versions?.to === null ? "and later" : `to ${versions?.to}`;
    const cells = [
      `\`${name}\``,
      versions === null ? "" : `${versions.from} ${last}`,
      schedule === "pin" ? "N - 1 updates" : "N updates",
      `\`${schedule}\``,
      otherSizes === "floor" ? `floored to ${divisor}` : `multiples of ${divisor}, others refused`,
      guidance,
      guidedAbove,
    ];
    return `| ${cells.join(" | ")} |`.replaceAll("|  |", "| |");
  });
  expect(printed).toEqual(rows);
});
