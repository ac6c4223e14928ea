import { getEventListeners } from "node:events";
import { Requester } from "@swarm-mesh/bus";
import { Registration } from "@swarm-mesh/protocol";
import { type Clock, silentLog, systemClock, systemRandom } from "@swarm-mesh/runtime";
import { test } from "@swarm-mesh/testkit";
import { expect } from "vitest";
import { register } from "../src/join.ts";

test("waiting for a registry leaves nothing behind on the signal", async ({ nc }) => {
  const stop = new AbortController();
  const waits: number[] = [];
  /** No wait is waited for, and the twentieth ends it. */
  const clock: Clock = {
    ...systemClock,
    sleep: async (ms) => {
      waits.push(getEventListeners(stop.signal, "abort").length);
      if (waits.length === 20) stop.abort();
      await systemClock.sleep(Math.min(ms, 1));
    },
  };
  const welcome = await register({
    nodeId: "n1",
    registration: Registration.parse({
      host: "h",
      agents: [{ name: "main", slots: 1, capabilities: ["x"] }],
    }),
    requester: new Requester(nc, { inboxPrefix: "_INBOX_n1" }),
    clock,
    random: systemRandom,
    log: silentLog,
    idInUseWaitMs: 1_000,
    signal: stop.signal,
  });
  expect(welcome).toBeUndefined();
  expect(waits).toEqual(Array(20).fill(0));
});
