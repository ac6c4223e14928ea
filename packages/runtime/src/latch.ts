/** A promise with its levers outside. (`Promise.withResolvers` is newer than Node 20.) */
export interface Latch<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: unknown) => void;
}

export function latch<T>(): Latch<T> {
  let resolve: (value: T) => void = () => undefined;
  let reject: (reason: unknown) => void = () => undefined;
  const promise = new Promise<T>((onValue, onReason) => {
    resolve = onValue;
    reject = onReason;
  });
  return { promise, resolve, reject };
}

/** Resolves when `signal` aborts; at once when it has. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/**
 * Gives `work` a signal that aborts with `signal`, and at the latest when the work is done: what it
 * waits for then is let go. Leaves nothing behind on `signal`; `AbortSignal.any` keeps some bytes there
 * for each call (Node 20), which a loop that ticks for months cannot have.
 */
export async function within<T>(
  signal: AbortSignal,
  work: (inner: AbortSignal) => Promise<T>,
): Promise<T> {
  const done = new AbortController();
  const stop = (): void => done.abort();
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await work(done.signal);
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
  }
}

/**
 * What `promise` comes to, or `undefined` as soon as `signal` aborts. Leaves no listener on a signal
 * that outlives the wait: {@link aborted} in a race would leave one each time.
 */
export async function unlessAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal,
): Promise<T | undefined> {
  const stopped = latch<undefined>();
  const stop = (): void => stopped.resolve(undefined);
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([promise, stopped.promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
