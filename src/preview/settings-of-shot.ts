import { basename } from "node:path";
import type { ToolSettings } from "../tools/settings.ts";
import { inWords, unknownSettings } from "../tools/settings.ts";
import type { Shot } from "./shot.ts";
import { resolvedShot } from "./shot.ts";

/** A shot in the words that other tools' settings are compared in, and in the trainer's own. */
export function settingsOfShot(shot: Shot): ToolSettings {
  const { parsed, effective, weight, updates } = resolvedShot(shot);
  const { profile, guidanceScale, steps, width, height } = effective;
  const loras = parsed.loras.map(({ path, multiplier }) => ({
    name: basename(path),
    strength: multiplier,
  }));
  const counted = updates === steps ? `${steps}` : `${steps}, which make ${updates} updates`;
  return {
    ...unknownSettings("retake"),
    prompt: parsed.prompt,
    negative: { kind: "text", text: parsed.negativePrompt },
    standardCfg: weight + 1,
    cfgOwn: { name: "guidance_scale", value: guidanceScale },
    steps: updates,
    sampler: "euler",
    scheduler: "linear",
    shift: 3,
    seed: parsed.seed,
    noise: "cpu",
    denoise: 1,
    width,
    height,
    loras,
    model: shot.model,
    own: inWords({
      prompt: ["prompt", parsed.prompt],
      negative: ["neg", parsed.negativePrompt],
      guidance: ["guidance_scale", `${guidanceScale} (${profile.name})`],
      steps: ["sample_steps", counted],
      sampler: ["sampler", "flowmatch"],
      scheduler: ["sampler", "flowmatch"],
      shift: ["shift", 3],
      seed: ["seed", parsed.seed],
      noise: ["seed", "drawn on the CPU"],
      denoise: ["denoise", 1],
      size: ["width, height", `${width}, ${height}`],
      loras: [
        "network_multiplier",
        loras.map((l) => `${l.name}, ${l.strength}`).join("; ") || "none",
      ],
      model: ["model", shot.model],
    }),
  };
}
