/** Figures of many samples. */

/** The value that `share` of the samples do not exceed: nearest rank, so always one of them. */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const rank = Math.max(1, Math.ceil(share * sorted.length));
  return sorted[rank - 1] ?? Number.NaN;
}

/** The middle value; of an even number the mean of the two. `NaN` without samples. */
export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  if (sorted.length % 2 === 1) return upper;
  return ((sorted[sorted.length / 2 - 1] ?? Number.NaN) + upper) / 2;
}

/**
 * The median of `ours / theirs`, each ratio taken within one round: both had the same machine then,
 * which two medians of separate rounds had not.
 */
export function roundRatio(ours: readonly number[], theirs: readonly number[]): number {
  const rounds = Math.min(ours.length, theirs.length);
  return median(
    Array.from({ length: rounds }, (_, round) => (ours[round] ?? 0) / (theirs[round] ?? 0)),
  );
}

/** What is told of a set of latencies, in milliseconds. */
export interface LatencyFigures {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export function latencyFigures(samplesMs: readonly number[]): LatencyFigures {
  return {
    count: samplesMs.length,
    p50: quantile(samplesMs, 0.5),
    p99: quantile(samplesMs, 0.99),
    p999: quantile(samplesMs, 0.999),
    max: quantile(samplesMs, 1),
  };
}
