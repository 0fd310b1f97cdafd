import type { GenerateInput } from "../job/request.ts";
import { generateRequestSchema } from "../job/request.ts";
import type { Rounding } from "../job/rounding.ts";
import { modelById } from "../models/registry.ts";
import { chooseProfile } from "../pipeline/choose-profile.ts";
import type { Meaning } from "../pipeline/meaning.ts";
import { effectiveParameters } from "../pipeline/parameters.ts";
import { applyTrigger } from "../prompt/encode-prompt.ts";

/** All that decides how a picture is drawn. */
export interface Shot {
  readonly model: string;
  /** null: weights as they are stored. */
  readonly rounding: Rounding | null;
  readonly request: GenerateInput;
  readonly meaning?: Meaning;
}

/** What a shot comes to: shots with the same text give the same picture, within 1 of 255. */
export function effectOf(shot: Shot): string {
  const { model, rounding, meaning = {} } = shot;
  const { parsed, effective, weight, updates } = resolvedShot(shot);
  return JSON.stringify([
    model,
    rounding,
    applyTrigger(parsed.prompt, parsed.triggerWord),
    weight === 0 ? null : [weight, meaning.negative ?? parsed.negativePrompt],
    effective.width,
    effective.height,
    meaning.sigmas ?? updates,
    String(effective.seed),
    parsed.loras.filter(({ multiplier }) => multiplier !== 0),
    meaning.noise ?? null,
    meaning.sampler ?? "euler",
  ]);
}

/** Whether a request's bounds allow it: a preview's file may have any size, and a job any seed. */
export function isDrawable({ request }: Shot): boolean {
  return generateRequestSchema.safeParse(request).success;
}

/** In pixels, as its profile snaps it. */
export function sizeOfShot(shot: Shot): { width: number; height: number } {
  const { width, height } = resolvedShot(shot).effective;
  return { width, height };
}

/** Updates times pixels times passes: what a shot costs beside others. */
export function costOf(shot: Shot): number {
  const { effective, weight } = resolvedShot(shot);
  return effective.width * effective.height * effective.steps * (weight === 0 ? 1 : 2);
}

/** A shot's request as it counts. */
export function resolvedShot({ model, request, meaning = {} }: Shot) {
  const parsed = generateRequestSchema.parse(request);
  const { profile } = chooseProfile(parsed.profile, []);
  const effective = effectiveParameters(parsed, modelById(model), profile);
  const updates = Math.max(1, effective.steps - (profile.schedule === "pin" ? 1 : 0));
  return { parsed, effective, updates, weight: meaning.guidanceWeight ?? effective.guidanceWeight };
}
