import { appendFileSync } from "node:fs";
import { expect, inject } from "vitest";
import type { Tensor } from "../src/tensor/tensor.ts";

export interface Tolerance {
  readonly atol: number;
  readonly rtol: number;
  /** What rtol multiplies: each reference value (default), or the largest of them. */
  readonly of?: "value" | "scale";
}

interface Expected {
  readonly data: ArrayLike<number>;
  readonly shape: readonly number[];
}

declare module "vitest" {
  interface ProvidedContext {
    /** Of RETAKE_TEST_DEVICES, RETAKE_TEST_STORAGES, RETAKE_TEST_FEW and RETAKE_TEST_DIFFERENCES; null: not given. */
    asked: Readonly<Record<"devices" | "storages" | "few" | "differences", string | null>>;
  }
  interface Assertion {
    /** |actual - reference| <= atol + rtol * |reference| everywhere, same shape, no NaN. */
    toBeAllclose(reference: Expected, tolerance: Tolerance): void;
  }
}

expect.extend({
  toBeAllclose(actual: Tensor, reference: Expected, { atol, rtol, of = "value" }: Tolerance) {
    if (String(actual.shape) !== String(reference.shape)) {
      return {
        pass: false,
        message: () => `shape [${actual.shape}] is not the reference's [${reference.shape}]`,
      };
    }
    const values = Array.from(reference.data);
    const scale = values.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    let worst = { index: -1, ratio: 0, difference: 0 };
    let largest = 0;
    for (const [index, value] of values.entries()) {
      const difference = Math.abs(actual.data[index]! - value);
      largest = Math.max(largest, difference);
      const ratio = difference / (atol + rtol * (of === "scale" ? scale : Math.abs(value)));
      // Written so that NaN on either side counts as the worst difference.
      if (!(ratio <= worst.ratio)) worst = { index, ratio, difference };
      if (Number.isNaN(ratio)) break;
    }
    note(this.testPath, scale === 0 ? largest : largest / scale);
    return {
      pass: worst.ratio <= 1,
      message: () =>
        `largest difference ${worst.difference} at ${worst.index}: ${actual.data[worst.index]} ` +
        `against ${values[worst.index]} (${worst.ratio.toFixed(3)} of the tolerance, scale ${scale})`,
    };
  },
});

/** For scripts/test-devices.ts: largest differences, of the reference's largest value, as lines of JSON. */
const notes = inject("asked").differences;

function note(file: string | undefined, difference: number): void {
  if (notes === null) return;
  appendFileSync(notes, `${JSON.stringify({ file, difference: String(difference) })}\n`);
}
