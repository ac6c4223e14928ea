/** Durations as people write them: `500ms`, `30s`, `5m`, `2h`. */
const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;

/** The longest duration accepted anywhere: a day. */
export const DURATION_MAX_MS = 24 * 3_600_000;

/** Milliseconds of `text`, or `undefined` when it is no duration between 1 ms and a day. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,9})(ms|s|m|h)$/.exec(text);
  if (match === null) return undefined;
  const ms = Number(match[1]) * UNIT_MS[match[2] as keyof typeof UNIT_MS];
  return ms >= 1 && ms <= DURATION_MAX_MS ? ms : undefined;
}

/** `ms` in the largest unit that divides it: 90000 → `90s`, 300000 → `5m`. */
export function formatDuration(ms: number): string {
  for (const unit of ["h", "m", "s"] as const) {
    if (ms >= UNIT_MS[unit] && ms % UNIT_MS[unit] === 0) return `${ms / UNIT_MS[unit]}${unit}`;
  }
  return `${Math.round(ms)}ms`;
}
