import { OutcomeBatch, outcomeSubject, outcomesSubject } from "@swarm-mesh/protocol";
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
  // The oldest go by the tenth part, so that not each outcome has to look for the oldest.
  expect(outbox.attemptOf(`t${SETTLED_OUTCOMES_MAX / 10 + 1}`)).toBe(1);
  expect(outbox.attemptOf(`t${SETTLED_OUTCOMES_MAX}`)).toBe(1);
});

test("sends what one turn had to tell in one request, and by itself what that did not settle", async ({
  deps,
  nc,
}) => {
  let empty = 0;
  const outbox = open(deps, () => empty++);
  const together = nc.subscribe(outcomesSubject("n1"))[Symbol.asyncIterator]();
  const single = nc.subscribe(outcomeSubject("n1", "*"))[Symbol.asyncIterator]();
  await nc.flush();
  for (const id of ["t1", "t2", "t3"]) outbox.add(ended(id));
  const batch = (await together.next()).value;
  expect(OutcomeBatch.parse(batch?.json()).map(({ taskId }) => taskId)).toEqual(["t1", "t2", "t3"]);
  batch?.respond('{"answers":["recorded","again","stale"]}');
  await nc.flush();
  expect(outbox.size).toBe(1);
  outbox.sweep(Number.POSITIVE_INFINITY);
  const again = (await single.next()).value;
  expect(again?.subject).toBe(outcomeSubject("n1", "t2"));
  again?.respond('{"answer":"recorded"}');
  await nc.flush();
  expect([outbox.size, empty]).toEqual([0, 1]);
});

test("an answer that fits no batch settles nothing", async ({ deps, nc }) => {
  const outbox = open(deps, () => undefined);
  const together = nc.subscribe(outcomesSubject("n1"))[Symbol.asyncIterator]();
  await nc.flush();
  for (const id of ["t1", "t2"]) outbox.add(ended(id));
  (await together.next()).value?.respond('{"error":{"code":"x","message":"","retryable":true}}');
  await nc.flush();
  expect(outbox.size).toBe(2);
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
  return new Outbox({ ...deps, nodeId: "n1", onEmpty, onOver: () => undefined });
}

function ended(taskId: string) {
  return { taskId, attempt: 1, epoch: 1, agent: "main", end: { ok: true, json: "1" } } as const;
}
