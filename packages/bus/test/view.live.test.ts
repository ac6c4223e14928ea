import { jetstreamManager } from "@nats-io/jetstream";
import { decode, kvSubject, LEASES_BUCKET } from "@swarm-mesh/protocol";
import { latch, silentLog, systemClock } from "@swarm-mesh/runtime";
import { type Deps, test } from "@swarm-mesh/testkit";
import { expect } from "vitest";
import { z } from "zod";
import { BucketView, type BucketViewOptions, bucketStream, openConnection } from "../src/mod.ts";

/** A key that is never gone, and is written again all the time. */
const BUSY = "leader.busy";
const LINKS = 30;

function viewOf(deps: Deps, more: Partial<BucketViewOptions<unknown>>): BucketView<unknown> {
  return new BucketView<unknown>({
    nc: deps.nc,
    manager: deps.manager,
    bucket: LEASES_BUCKET,
    clock: systemClock,
    log: silentLog,
    decode: (_key, value) => decode(z.unknown(), value),
    ...more,
  });
}

async function write(deps: Deps, key: string): Promise<void> {
  await deps.requester.stored(kvSubject(LEASES_BUCKET.name, key), "1");
}

/** Writes the busy key until it is told to stop. */
function keepBusy(deps: Deps): () => Promise<void> {
  const stop = new AbortController();
  const busy = (async () => {
    while (!stop.signal.aborted) await write(deps, BUSY);
  })();
  return async () => {
    stop.abort();
    await busy;
  };
}

test("reports no key as gone that is there, however often its link comes back", {
  timeout: 60_000,
}, async ({ deps, server }) => {
  await write(deps, BUSY);
  for (let i = 0; i < 20; i++) await write(deps, `node.k${i}`);
  const quiet = keepBusy(deps);
  const gone: string[] = [];
  const end = new AbortController();
  let current = latch<void>();
  const nc = await openConnection({ servers: server.url, name: "view", inbox: "view" });
  const view = viewOf(deps, {
    nc,
    manager: await jetstreamManager(nc),
    onCurrent: () => current.resolve(),
    onChange: ({ key, after }) => {
      if (after === undefined) gone.push(key);
    },
  });
  const running = view.run(end.signal);
  for (let back = 0; back < LINKS; back++) {
    await current.promise;
    current = latch<void>();
    await nc.reconnect();
  }
  await current.promise;
  end.abort();
  await running;
  await quiet();
  await nc.close();
  expect(gone).toEqual([]);
});

test("has the server keep no file of how far its watch is", async ({ deps }) => {
  const end = new AbortController();
  const current = latch<void>();
  const running = viewOf(deps, { onCurrent: () => current.resolve() }).run(end.signal);
  await current.promise;
  const consumers = await deps.manager.consumers.list(bucketStream(LEASES_BUCKET)).next();
  end.abort();
  await running;
  expect(consumers.map(({ config }) => config.mem_storage)).toEqual([true]);
});
