/** Enough halvings for 1e-12. */
const halvings = 40;

/**
 * The quantile of the beta distribution whose two parameters are equal, within 1e-10: what
 * `scipy.stats.beta.ppf(p, a, a)` answers. It is symmetric, so the series is summed below 1/2 only.
 */
export function betaQuantile(p: number, a: number): number {
  if (p > 0.5) return 1 - betaQuantile(1 - p, a);
  const target = 2 * p * incomplete(0.5, a);
  let low = 0;
  let high = 0.5;
  for (let i = 0; i < halvings; i++) {
    const middle = (low + high) / 2;
    if (incomplete(middle, a) < target) low = middle;
    else high = middle;
  }
  // 1/2 itself stays exact: ComfyUI rounds a thousandfold of it.
  return high;
}

/** The integral of t^(a-1)·(1-t)^(a-1) from 0 to x, x at most 1/2, as a power series. */
function incomplete(x: number, a: number): number {
  let term = x ** a;
  let sum = term / a;
  for (let n = 1; n < 200 && term > 1e-18; n++) {
    term *= (x * (n - a)) / n;
    sum += term / (a + n);
  }
  return sum;
}
