import { z } from "zod";

// The one rule for seeds: what may be asked for, what is taken where nothing is, and how JSON carries it.

/** The largest that torch.Generator.manual_seed takes. */
export const largestSeed: bigint = 2n ** 64n - 1n;

/** What a request's first prompt takes where no seed is given; each further prompt takes one more. */
export const defaultSeed = 42n;

/** A request for a seed that is drawn. */
export const drawnSeed = -1n;

/** The reference draws its seeds below this. */
const drawnBelow = 2_147_483_647;

/**
 * The seed that a picture is made with.
 *
 * @param asked -1 to 2^64 - 1, or null where nothing was asked for
 * @param index of the prompt in its request, from 0
 */
export function chooseSeed(asked: bigint | null, index: number): bigint {
  if (asked === null) return defaultSeed + BigInt(index);
  return asked === drawnSeed ? draw() : asked;
}

/** From the crypto that Node and browsers share: this room is read by both. */
function draw(): bigint {
  const [bits] = crypto.getRandomValues(new Uint32Array(1));
  return BigInt(Math.floor((bits! / 2 ** 32) * drawnBelow));
}

/** A seed in JSON: decimal digits, as JSON's numbers are rounded above 2^53. */
export const seedTextSchema = z
  .string()
  .regex(/^\d{1,20}$/, { abort: true })
  .refine((text) => seedOfText(text) <= largestSeed, "is above 2^64 - 1");

export function seedToText(seed: bigint): string {
  return seed.toString();
}

export function seedOfText(text: string): bigint {
  return BigInt(text);
}
