import { expect, test, vi } from "vitest";
import { CanceledError } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { denoise, guide, negate } from "./denoise.ts";
import { flowMatchSchedule } from "./schedule.ts";

const tensor = (...values: number[]): Tensor => ({
  data: Float32Array.from(values),
  shape: [values.length],
});

// diffusers 0.42.1, torch 2.13.0: FlowMatchEulerDiscreteScheduler(shift=3.0).step on 3 steps of
// torch.randn values, printed with 9 digits, which name an f32 exactly.
const noise = tensor(
  ...[0.803276062, 0.174833387, 0.0889780968, -0.613718033, 0.0461824499, -1.36825919],
);
const noisePreds = [
  tensor(0.337495089, 1.01111591, -1.43517935, 0.977431774, 0.522049963, 1.23791671),
  tensor(-0.864635587, 0.298960835, 0.419218659, -0.0798543245, 0.926410854, 0.815677524),
  tensor(0.495189011, -0.164316982, -0.677962184, -1.05910742, 0.747696638, 0.23891741),
];
const stepped = [
  tensor(0.755062461, 0.0303882062, 0.294003785, -0.753351212, -0.0283961408, -1.5451045),
  tensor(0.977397323, -0.0464874357, 0.186204702, -0.732817233, -0.266616046, -1.75485015),
  tensor(0.680283904, 0.0521027446, 0.592981994, -0.0973528028, -0.715234041, -1.89820063),
];

test("each step is diffusers', bit by bit", async () => {
  const seen: Tensor[] = [];
  const latents = await denoise({
    latents: noise,
    schedule: flowMatchSchedule({ steps: 3, shift: 3, kind: "head" }),
    predict: async (_, stepIndex) => noisePreds[stepIndex]!,
    onStep: (step) => {
      expect(step).toMatchObject({
        step: seen.length,
        total: 3,
        noisePred: noisePreds[seen.length],
      });
      seen.push(step.latents);
    },
  });
  expect(seen).toEqual(stepped);
  expect(latents).toEqual(stepped[2]);
});

test.each([
  [1, [0]],
  [2, [0]],
  [5, [0, 1, 2, 3]],
])("pin, %d steps: the network runs at %j only", async (steps, useful) => {
  const ran: number[] = [];
  const onStep = vi.fn();
  await denoise({
    latents: noise,
    schedule: flowMatchSchedule({ steps, shift: 3, kind: "pin" }),
    predict: async (latents, stepIndex) => {
      ran.push(stepIndex);
      return latents;
    },
    onStep,
  });
  expect(ran).toEqual(useful);
  expect(onStep).toHaveBeenCalledTimes(useful.length);
});

test.each([0, 1, 2, 3])(
  "a signal is seen after %d steps, also one set by a timer",
  async (after) => {
    const controller = new AbortController();
    if (after === 0) controller.abort();
    let ran = 0;
    const canceled = denoise({
      latents: noise,
      schedule: flowMatchSchedule({ steps: 3, shift: 3, kind: "head" }),
      predict: async (latents) => {
        ran++;
        // Fires only when the loop lets the event loop run.
        if (ran === after) setImmediate(() => controller.abort());
        return latents;
      },
      signal: controller.signal,
      onStep: () => {},
    });
    await expect(canceled).rejects.toThrow(CanceledError);
    expect(ran).toBe(after);
  },
);

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
