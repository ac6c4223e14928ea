/** Collects a flag that may be given any number of times. */
export function repeated(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}
