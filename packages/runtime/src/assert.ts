/** A broken invariant. It ends the process: the state can no longer be trusted. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** Ends the process's trust in itself when `condition` does not hold. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}
