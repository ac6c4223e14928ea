import { outcomeSubject } from "@swarm-mesh/protocol";
import type { Deps } from "@swarm-mesh/testkit";
import { test } from "@swarm-mesh/testkit";
import { expect } from "vitest";
import { Outbox, PENDING_OUTCOMES_MAX, SETTLED_OUTCOMES_MAX } from "../src/outbox.ts";

test("is full at its limit, and has room again when outcomes are recorded", async ({
  deps,
  nc,
}) => {
  let empty = 0;
  const outbox = open(deps, () => empty++);
  outbox.setLink(false);
  for (let task = 0; task < PENDING_OUTCOMES_MAX; task++) outbox.add(ended(`t${task}`));
  expect(outbox.full).toBe(true);

  nc.subscribe(outcomeSubject("n1", "*"), {
    callback: (_, message) => void message.respond('{"answer":"recorded"}'),
  });
  await nc.flush();
  outbox.setLink(true);
  while (outbox.size > 0) {
    outbox.sweep(deps.clock.elapsed());
    await nc.flush();
  }
  expect(outbox.full).toBe(false);
  expect(empty).toBe(1);
});

test("remembers the newest that were acknowledged", ({ deps }) => {
  const outbox = open(deps, () => undefined);
  for (let task = 0; task <= SETTLED_OUTCOMES_MAX; task++) outbox.remember(ended(`t${task}`));
  expect(outbox.attemptOf("t0")).toBeUndefined();
  expect(outbox.attemptOf("t1")).toBe(1);
  expect(outbox.attemptOf(`t${SETTLED_OUTCOMES_MAX}`)).toBe(1);
});

test("sends an answer of `stale` to an older term again, for the newer one", async ({
  deps,
  nc,
}) => {
  const outbox = open(deps, () => undefined);
  const heard = nc.subscribe(outcomeSubject("n1", "t1"))[Symbol.asyncIterator]();
  await nc.flush();
  outbox.add(ended("t1"));
  const first = (await heard.next()).value;
  outbox.resend("t1", 2);
  const second = (await heard.next()).value;
  expect(second?.json()).toMatchObject({ epoch: 2 });
  first?.respond('{"answer":"stale"}');
  await nc.flush();
  expect(outbox.size).toBe(1);
  second?.respond('{"answer":"stale"}');
  await nc.flush();
  expect(outbox.size).toBe(0);
});

function open(deps: Deps, onEmpty: () => void): Outbox {
  return new Outbox({ ...deps, nodeId: "n1", onEmpty });
}

function ended(taskId: string) {
  return { taskId, attempt: 1, epoch: 1, agent: "main", end: { ok: true, json: "1" } } as const;
}
