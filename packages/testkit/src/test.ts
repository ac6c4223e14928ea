import type { JetStreamManager } from "@nats-io/jetstream";
import { ensureStores, openConnection, openManager, Requester } from "@swarm-mesh/bus";
import {
  type Clock,
  type Log,
  Meters,
  type Random,
  silentLog,
  systemClock,
  systemRandom,
} from "@swarm-mesh/runtime";
import type { NatsConnection } from "nats";
import { test as base } from "vitest";
import { ManualClock } from "./manual-clock.ts";
import { NatsServer } from "./nats-server.ts";

/** What a service under test is given. */
export interface Deps {
  readonly nc: NatsConnection;
  readonly requester: Requester;
  readonly manager: JetStreamManager;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly meters: Meters;
  readonly instance: string;
  readonly replicas: number;
  readonly ready: () => void;
}

export interface Fixtures {
  /** A `nats-server` of this test's own: real, empty, gone afterwards even when the test times out. */
  readonly server: NatsServer;
  /** A connection to {@link Fixtures.server}. */
  readonly nc: NatsConnection;
  /** A clock this test turns by hand. */
  readonly clock: ManualClock;
  /** What a service runs with, on the real clock; the streams and buckets exist. */
  readonly deps: Deps;
  /** Runs a service until the test is over; the test fails if the service does. */
  readonly run: (service: (signal: AbortSignal) => Promise<void>) => void;
}

/** Vitest's `test`, with the fixtures our tests are written in. */
export const test = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
  server: async ({}, use) => {
    const server = await NatsServer.start();
    await use(server);
    await server.stop();
  },
  nc: async ({ server }, use) => {
    const nc = await openConnection({
      servers: server.url,
      name: "test",
      inbox: "test",
      patient: false,
    });
    await use(nc);
    await nc.close();
  },
  // biome-ignore lint/correctness/noEmptyPattern: as above
  clock: async ({}, use) => {
    await use(new ManualClock());
  },
  deps: async ({ nc }, use) => {
    const manager = await openManager(nc);
    await ensureStores(nc, manager, 1);
    await use({
      nc,
      manager,
      requester: new Requester(nc, { inboxPrefix: "_INBOX_test" }),
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      // Another one each time it is asked for: several services may run in one test.
      get meters() {
        return new Meters();
      },
      instance: "test-1",
      replicas: 1,
      ready: () => undefined,
    });
  },
  // Asks for `nc` so that services are stopped before their connection is closed.
  run: async ({ nc: _ }, use) => {
    const stop = new AbortController();
    const running: Promise<void>[] = [];
    await use((service) => {
      running.push(service(stop.signal));
    });
    stop.abort();
    await Promise.all(running);
  },
});
