import { expect, test } from "vitest";
import { guidanceScaleFor, profiles } from "./profiles.ts";

// De-Turbo's g = 3 and Turbo's g = 1 as the trainer's history has them, and what lies beside them.
test.each([
  ["preview-0.7.6", { 3: 3, 1.5: 1.5, 1: 0, 0.5: 0, 0: 0, [-2]: 0 }],
  ["preview-0.7.25", { 3: 3, 1: 1, 0.5: 0.5, 0: 0, [-2]: 0 }],
  ["preview-0.9.14", { 3: 3, 1: 1, 0.5: 0.5, 0: 0, [-2]: 0 }],
  ["preview-0.10.21", { 30: 29, 3: 2, 1.5: 0.5, 1: 0, 0.5: 0, 0: 0, [-2]: 0 }],
  ["preview-0.10.25", { 30: 29, 3: 2, 1.5: 0.5, 1: 0, 0.5: 0, 0: 0, [-2]: 0 }],
  ["reference", { 3: 3, 1: 1, 0: 0 }],
  ["diffusers", { 3: 3, 1: 1, 0: 0 }],
] as const)("%s: the guidance weights of %j", (name, expected) => {
  for (const [g, weight] of Object.entries(expected)) {
    expect(profiles[name].guidanceWeight(Number(g)), g).toBe(weight);
  }
});

test("the guidance scale to ask for is the inverse, where there is one", () => {
  expect(guidanceScaleFor(profiles.reference, 3)).toBe(3);
  expect(guidanceScaleFor(profiles["preview-0.10.25"], 3)).toBe(4);
  expect(guidanceScaleFor(profiles["preview-0.10.25"], 0.1)).toBe(1.1);
  expect(guidanceScaleFor(profiles["preview-0.10.25"], 0)).toBe(1);
  expect(guidanceScaleFor(profiles["preview-0.7.6"], 0)).toBe(0);
  // Guidance ran above 1 only.
  expect(guidanceScaleFor(profiles["preview-0.7.6"], 0.5)).toBeNull();
  expect(guidanceScaleFor(profiles.diffusers, -1)).toBeNull();
});
