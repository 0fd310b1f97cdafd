import { inject } from "vitest";
import { type Device, devices } from "../src/config/model-options.ts";
import type { HeldStorage } from "../src/pipeline/weight-forms.ts";
import type { TestRun } from "./held.ts";

const storages = ["original", "f32", "f16", "int8"] as const satisfies readonly HeldStorage[];

const asked = inject("asked");

/** The words of a variable, as in `cpu,cuda`. */
function named<Word extends string>(
  variable: "devices" | "storages",
  known: readonly Word[],
  unset: Word,
): Word[] {
  return (asked[variable] ?? unset).split(",").map((name) => {
    const word = known.find((one) => one === name.trim());
    if (word === undefined) {
      throw new Error(
        `RETAKE_TEST_${variable.toUpperCase()}: there is no ${name}; take ${known.join(", ")}, as in a,b`,
      );
    }
    return word;
  });
}

/** The CPU, or the devices that RETAKE_TEST_DEVICES names. */
export const testDevices: readonly Device[] = named("devices", devices, "cpu");

const testStorages = named("storages", storages, "original");

/** Each device with each storage of RETAKE_TEST_STORAGES; without it, with the weights as files have them. */
export const testRuns: readonly TestRun[] = testDevices.flatMap((device) =>
  testStorages.map((storage) => ({ device, storage })),
);

/** Those whose weights are as the trainer had them: blocks of 8 bits round, where no trainer's picture tells how far. */
export const unroundedRuns: readonly TestRun[] = testRuns.filter(
  ({ storage }) => storage !== "int8",
);

/**
 * A suite's cases: all of them, or where RETAKE_TEST_FEW is set, those that stand for its kinds. A
 * software device takes seconds for each.
 */
export function few<Case>(cases: readonly Case[], standsForMore: (one: Case) => boolean): Case[] {
  const chosen = asked.few === null ? [...cases] : cases.filter(standsForMore);
  if (chosen.length === 0) throw new Error("RETAKE_TEST_FEW: none of the suite's cases is chosen");
  return chosen;
}

/**
 * The folder of golden files whose weights a storage holds without rounding: `tiny` has f32 weights,
 * of `exact` reference/golden_exact.py says how they fit everything.
 */
export function goldensFor(storage: HeldStorage): "tiny" | "exact" {
  return storage === "original" ? "tiny" : "exact";
}
