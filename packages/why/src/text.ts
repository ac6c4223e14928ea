/** Text and times, cut to what people read. */

/** Text as a cell: one line, cut. */
export function cell(text: string, widthMax = 60): string {
  const flat = text.trim().replaceAll(/\s+/g, " ");
  return flat.length > widthMax ? `${flat.slice(0, widthMax - 1)}…` : flat;
}

/** How long ago, or how long: the largest unit that fits, `4s`, `12m`, `3h`, `2d`. */
export function span(ms: number): string {
  if (!Number.isFinite(ms)) return "-";
  const units = [
    ["d", 86_400_000],
    ["h", 3_600_000],
    ["m", 60_000],
    ["s", 1_000],
  ] as const;
  for (const [unit, size] of units) {
    if (ms >= size) return `${Math.floor(ms / size)}${unit}`;
  }
  return `${Math.max(0, Math.round(ms))}ms`;
}
