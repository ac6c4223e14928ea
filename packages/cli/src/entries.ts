/** A bucket's entries as they are now, for commands that look once. */
import { Bucket, BucketView, bucketStream, Requester } from "@swarm-mesh/bus";
import { type BucketSpec, decode } from "@swarm-mesh/protocol";
import { latch, silentLog, systemClock } from "@swarm-mesh/runtime";
import { z } from "zod";
import { CliError, Exit } from "./exit.ts";
import type { Session } from "./session.ts";

/**
 * Reads every key with its value, any JSON. Needs a key that may read the bucket: admin or viewer. A
 * key that is written while the others are read may be missing: {@link readEntry} tells for sure.
 */
export async function readEntries(
  session: Session,
  bucket: BucketSpec,
): Promise<readonly (readonly [string, unknown])[]> {
  const manager = await session.manager();
  // A view tries for ever; one plain look tells at once that there is nothing, or no right, to see.
  await manager.streams.info(bucketStream(bucket));
  const stop = new AbortController();
  const current = latch<void>();
  const view = new BucketView<unknown>({
    nc: session.nc,
    manager,
    bucket,
    clock: systemClock,
    log: silentLog,
    decode: (_key, value) => decode(z.unknown(), value),
    onCurrent: () => current.resolve(),
  });
  const running = view.run(stop.signal);
  const late = systemClock.sleep(session.target.timeoutMs, stop.signal).then(() => "late" as const);
  try {
    if ((await Promise.race([current.promise, running, late])) === "late") {
      throw new CliError(
        Exit.timeout,
        "unavailable",
        `the bucket ${bucket.name} could not be read in time: does a majority of its servers run, and is this key an admin's or a viewer's?`,
      );
    }
    return [...view.entries()];
  } finally {
    stop.abort();
    await running.catch(() => undefined); // What was read is already returned.
  }
}

/** One key's value, any JSON; `undefined`: it is not there. */
export async function readEntry(
  session: Session,
  bucket: BucketSpec,
  key: string,
): Promise<unknown> {
  const requester = new Requester(session.nc, { inboxPrefix: session.target.inboxPrefix });
  const entry = await new Bucket(bucket, await session.manager(), requester).read(key);
  if (entry?.value === undefined) return undefined;
  const value = decode(z.unknown(), entry.value);
  return value.ok ? value.value : undefined;
}
