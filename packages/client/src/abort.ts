import { setMaxListeners } from "node:events";

/**
 * Calls `react` when `signal` aborts; at once when it has. Call the result to stop listening.
 *
 * Any number of calls may share a caller's signal: ten listeners are no leak here, as Node would
 * warn.
 */
export function onAbort(signal: AbortSignal | undefined, react: () => void): () => void {
  if (signal === undefined) return () => undefined;
  if (signal.aborted) {
    react();
    return () => undefined;
  }
  setMaxListeners(0, signal);
  signal.addEventListener("abort", react, { once: true });
  return () => signal.removeEventListener("abort", react);
}
