import { z } from "zod";

/** Seeds that torch.Generator.manual_seed takes; -1 asks for a random one. */
const largestSeed = 2n ** 64n - 1n;

const pixels = z.int().min(64).max(4096);

export const profileNames = ["reference", "diffusers"] as const;
export type ProfileName = (typeof profileNames)[number];

/** More than anybody combines: a bound for memory. */
export const mostLoras = 16;

/** A LoRA file and how strongly it acts. */
const loraSchema = z.strictObject({
  path: z.string().min(1),
  /** The reference API's `network_multiplier`, with its bounds. */
  multiplier: z.number().min(-2).max(2),
});

/**
 * One picture to make. Bounds are the reference API's. What is left out takes
 * the model's default; the seed's default is 42.
 */
export const generateRequestSchema = z.strictObject({
  model: z.string(),
  prompt: z.string(),
  negativePrompt: z.string().default(""),
  triggerWord: z.string().optional(),
  /** Act together, each with its multiplier; the order matters for DoRA only. */
  loras: z.array(loraSchema).max(mostLoras).default([]),
  width: pixels.optional(),
  height: pixels.optional(),
  steps: z.int().min(1).max(150).optional(),
  guidanceScale: z.number().min(0).max(20).optional(),
  seed: z.bigint().min(-1n).max(largestSeed).optional(),
  profile: z.enum(profileNames).default("reference"),
});

export type GenerateRequest = z.output<typeof generateRequestSchema>;
