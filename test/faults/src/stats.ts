/** Figures of a list of measurements. */

/** The smallest figure that a share `q` of all is not above; `NaN` of none. */
export function quantile(figures: readonly number[], q: number): number {
  const sorted = [...figures].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
}
