/** Deterministic samplers that other tools offer; `euler` is every preview's. */
export type SamplerName = "euler" | "res_multistep" | "dpmpp_2m" | "heun";

/** x' = x·latents + current·picture + previous·picture before, where a picture is x - sigma·v. */
export interface Weights {
  readonly x: number;
  readonly current: number;
  readonly previous: number;
}

/**
 * An update of a multistep sampler, or null where it is Euler's: ComfyUI's `sample_res_multistep`
 * (Zhang et al., 2308.02157, second order) and `sample_dpmpp_2m` (a125cd84,
 * comfy/k_diffusion/sampling.py), which compute these factors in f32; here they are f64, so
 * latents agree within 1e-5.
 *
 * @param before the noise level of the update before; null in the first one
 */
export function multistepWeights(
  sampler: "res_multistep" | "dpmpp_2m",
  before: number | null,
  sigma: number,
  next: number,
): Weights | null {
  if (before === null || next === 0) return null;
  const h = Math.log(sigma / next);
  const last = Math.log(before / sigma);
  if (sampler === "dpmpp_2m") {
    const half = h / (2 * last);
    const scale = -Math.expm1(-h);
    return { x: next / sigma, current: scale * (1 + half), previous: -scale * half };
  }
  const phi1 = Math.expm1(-h) / -h;
  const phi2 = (phi1 - 1) / -h;
  // Both steps in units of this one; the one before lies behind.
  const c2 = -last / h;
  return { x: next / sigma, current: h * (phi1 - phi2 / c2), previous: h * (phi2 / c2) };
}
