/**
 * Headers that nats-server itself obeys, set by a client on its submit. What each does:
 *
 * | header | answer |
 * |---|---|
 * | `Nats-Expected-*` that does not hold | refused, 10071, 10070 or 10060; nothing is stored |
 * | `Nats-Batch-*`, `Nats-Incr` | refused, 10174 and 10168: the stream has neither |
 * | `Nats-TTL` | refused: a task that is acknowledged does not vanish |
 * | `Nats-Rollup` | refused: it would take every waiting task away |
 * | `Nats-Schedule` | refused: it would take the other tasks of its subject away, and speak as a retry |
 * | `Nats-Trace-Dest` | not stored, and no trace is sent: the client may not publish there |
 * | `Nats-Msg-Id` twice | the first one counts |
 */
import { setTimeout as sleep } from "node:timers/promises";
import { jetstreamManager } from "@nats-io/jetstream";
import { describe, expect } from "vitest";
import { type Answer, type HeaderList, type Outside, test } from "./outside.ts";

const NOBODY = "nobody";

test.afterEach(({ outside }) => outside.unharmed());

test.for<[HeaderList, number]>([
  [{ "Nats-Expected-Last-Sequence": "1" }, 10071],
  [{ "Nats-Expected-Last-Subject-Sequence": "999999" }, 10071],
  [{ "Nats-Expected-Last-Msg-Id": "never-was" }, 10070],
  [{ "Nats-Expected-Stream": "KV_mesh_tasks" }, 10060],
  [{ "Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1" }, 10174],
  [{ "Nats-Incr": "1" }, 10168],
])("%j is refused, and the others wait on", async ([list, code], { outside }) => {
  const waiting = await threeWaiting(outside);
  expect((await trySubmit(outside, NOBODY, list)).error).toMatchObject({ err_code: code });
  await allWait(outside, waiting);
});

test("a message id twice: the first one counts", async ({ outside }) => {
  await outside.submit("echo", "1", { "Nats-Msg-Id": ["first-of-two", "second-of-two"] });
  expect(await outside.record("first-of-two")).toMatchObject({ status: "succeeded" });
  expect(await outside.get("second-of-two")).toMatchObject({ error: { code: "not_found" } });
});

test.for<HeaderList>([
  { "Nats-Marker-Reason": "Purge" },
  { "Nats-Required-Api-Level": "99" },
  { "Nats-Scheduler": "mesh.tasks.delayed.any", "Nats-Schedule-Next": "purge" },
  { "Nats-Stream-Source": "X", "Nats-Sequence": "1", "Nats-Last-Sequence": "1" },
  { "Nats-Request-Info": '{"acc":"MESH"}' },
])("%j harms nobody", async (list, { outside }) => {
  const waiting = await threeWaiting(outside);
  await trySubmit(outside, "echo", list);
  await allWait(outside, waiting);
});

test("a trace is sent nowhere", async ({ outside }) => {
  const heard: string[] = [];
  const subjects = ["mesh.node.n1.drain", "mesh.tasks.retry.echo", "$KV.mesh_tasks.x"];
  const subscriptions = subjects.map((subject) =>
    outside.admin.subscribe(subject, {
      callback: (_, message) => void heard.push(message.subject),
    }),
  );
  await outside.admin.flush();
  // Nobody answers, which takes its time: all at once.
  const asked = subjects.map((subject) =>
    trySubmit(outside, "echo", { "Nats-Trace-Dest": subject }),
  );
  for (const { status } of await Promise.allSettled(asked)) expect(status).toBe("rejected");
  expect(heard).toEqual([]);
  for (const subscription of subscriptions) subscription.unsubscribe();
});

describe("what would take or forge the tasks of others is refused", () => {
  test("Nats-Rollup of a subject or of all", async ({ outside }) => {
    for (const rollup of ["sub", "all"]) {
      const waiting = await threeWaiting(outside);
      const answer = await trySubmit(outside, NOBODY, { "Nats-Rollup": rollup });
      expect.soft(answer.error, rollup).toBeDefined();
      await allWait(outside, waiting);
    }
  });

  test("Nats-TTL", async ({ outside }) => {
    const answer = await trySubmit(outside, NOBODY, { "Nats-TTL": "1s", "Nats-Msg-Id": "short" });
    expect(answer.error).toBeDefined();
  });

  test("Nats-Schedule, which takes the other tasks of its subject away", async ({ outside }) => {
    const waiting = await threeWaiting(outside);
    const answer = await trySubmit(outside, NOBODY, scheduled("mesh.tasks.submit.echo"));
    expect.soft(answer.error).toBeDefined();
    await allWait(outside, waiting);
  });

  test("Nats-Schedule aimed at the retry of another's task", async ({ outside }) => {
    await retrying(outside, "victim-1");
    const forged = { "Mesh-Task-Id": "victim-1", "Mesh-Attempt": "2" };
    const retry = { ...scheduled("mesh.tasks.retry.echo"), ...forged };
    expect.soft((await trySubmit(outside, "forger", retry)).error).toBeDefined();
    await sleep(1_500);
    expect(await outside.get("victim-1")).toMatchObject({ status: "retrying", attempt: 1 });
  });

  test("Nats-Schedule aimed at the delayed message of another's task", async ({ outside }) => {
    await retrying(outside, "victim-2");
    const subject = "mesh.tasks.delayed.victim-2";
    expect.soft((await trySubmit(outside, "forger", scheduled(subject))).error).toBeDefined();
    await sleep(1_500);
    const manager = await jetstreamManager(outside.admin);
    const message = await manager.streams.getMessage(await manager.streams.find(subject), {
      last_by_subj: subject,
    });
    expect(message?.string()).toBe("victim-2");
  });
});

describe("a retry that no coordinator wrote", () => {
  test.for<HeaderList>([
    { "Mesh-Task-Id": "a b", "Mesh-Attempt": "1" },
    { "Mesh-Task-Id": "a.*", "Mesh-Attempt": "1" },
    { "Mesh-Task-Id": ">", "Mesh-Attempt": "1" },
    { "Mesh-Task-Id": "x".repeat(5_000), "Mesh-Attempt": "1" },
    { "Mesh-Task-Id": "r1", "Mesh-Attempt": "-1" },
    { "Mesh-Task-Id": "r2", "Mesh-Attempt": "Infinity" },
    { "Mesh-Task-Id": "r3", "Mesh-Attempt": "1", "Mesh-Submitted-At": "yesterday" },
    { "Mesh-Task-Id": "r4", "Mesh-Attempt": "1", "Mesh-Lane": "urgent", "Mesh-Timeout": "never" },
    {},
  ])("%j stops no leader", async (list, { outside }) => {
    await outside.ask(outside.admin, "mesh.tasks.retry.echo", '"by hand"', list);
    await outside.unharmed();
  });
});

/** A schedule that is due at once, or in `inMs`. */
function scheduled(target: string, inMs = 0): HeaderList {
  const at = new Date(Date.now() + inMs).toISOString();
  return { "Nats-Schedule": `@at ${at}`, "Nats-Schedule-Target": target };
}

/** A task whose next try is an hour away; its body is its id. */
async function retrying(outside: Outside, id: string): Promise<void> {
  await outside.submit("slow", id, {
    "Nats-Msg-Id": id,
    "Mesh-Timeout": "100ms",
    "Mesh-Backoff": "fixed:1h",
  });
  await outside.record(id, (status) => status === "retrying");
}

function trySubmit(outside: Outside, subject: string, list: HeaderList): Promise<Answer> {
  return outside.ask(outside.client, `mesh.tasks.submit.${subject}`, "1", list);
}

/** Tasks of others, of a capability that nobody offers; how many wait by now. */
async function threeWaiting(outside: Outside): Promise<number> {
  for (let count = 0; count < 3; count++) await outside.submit(NOBODY, "of others");
  return waitingCount(outside);
}

async function allWait(outside: Outside, least: number): Promise<void> {
  expect(await waitingCount(outside), "tasks of others").toBeGreaterThanOrEqual(least);
}

async function waitingCount(outside: Outside): Promise<number> {
  const manager = await jetstreamManager(outside.admin);
  const { state } = await manager.streams.info("MESH_TASKS", { subjects_filter: ">" });
  return state.subjects?.[`mesh.tasks.submit.${NOBODY}`] ?? 0;
}
