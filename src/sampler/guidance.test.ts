import { expect, test } from "vitest";
import { guide, negate } from "./guidance.ts";

const tensor = (...values: number[]) => ({ data: Float32Array.from(values), shape: [2, 3] });

// torch 2.13.0, f32: pos + w * (pos - neg), as ZImagePipeline writes it; 9 digits name an f32 exactly.
const positive = tensor(
  ...[-1.17645073, 0.455744684, -3.55119967, 1.60308218, -4.35306835, -1.88812208],
);
const negative = tensor(
  ...[0.463245302, -0.743970513, 1.36050344, 0.0362732708, 4.02610683, 4.38601112],
);

test.each([
  [2.3, [-4.94775152, 3.21508956, -14.8481169, 5.20674276, -23.6251717, -16.3186283]],
  [1, [-2.81614685, 1.65545988, -8.46290302, 3.16989112, -12.7322435, -8.16225529]],
  [0, [...positive.data]],
])("a weight of %d", (weight, expected) => {
  expect(guide(positive, negative, weight)).toEqual(tensor(...expected));
});

test("the sign is turned", () => {
  expect(negate(tensor(1, -2, 0.5, 3, -4, 5))).toEqual(tensor(-1, 2, -0.5, -3, 4, -5));
});
