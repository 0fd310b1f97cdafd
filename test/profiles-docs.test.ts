import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { profileNames } from "../src/job/request.ts";
import { profiles } from "../src/models/profiles.ts";
import { models } from "../src/models/registry.ts";
import { flowMatchSchedule, usefulSteps } from "../src/sampler/schedule.ts";

const read = (page: string) => readFileSync(new URL(`../docs/${page}`, import.meta.url), "utf8");

test("docs/models.md prints the table of profiles", () => {
  const printed = read("models.md")
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

test.each(models)("docs/models/$id.md says what its numbers came to in each era", (model) => {
  const rows = [...read(`models/${model.id}.md`).matchAll(/^\| `(preview-[\d.]+)` \| (.*) \|$/gm)];
  expect(rows.map(([, name]) => name)).toEqual(
    profileNames.filter((name) => /^preview/.test(name)),
  );
  for (const [, name, cells] of rows) {
    const numbers = cells!.split(" | ").map(Number);
    const [updates, cfg] = numbers.slice(-2);
    const steps = numbers.length === 3 ? numbers[0]! : model.steps;
    const { schedule: kind, guidanceWeight } = profiles[name as (typeof profileNames)[number]];
    expect(usefulSteps(flowMatchSchedule({ steps, shift: 3, kind })), name).toHaveLength(updates!);
    expect(guidanceWeight(model.guidanceScale) + 1, name).toBe(cfg);
  }
});
