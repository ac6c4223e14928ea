import { MESH_AUDIT } from "@swarm-mesh/protocol";
import { systemRandom } from "@swarm-mesh/runtime";
import { type Deps, test } from "@swarm-mesh/testkit";
import { expect } from "vitest";
import { AuditQueue, AuditTrail, AuditVerifier, auditRefusals, Requester } from "../src/mod.ts";

const never = new AbortController().signal;
const deed = (target: string) => ({
  ...{ action: "node.drain", who: { name: "ada" }, target, reason: "", details: {} },
});

/** A writer with a connection's requester of its own. */
function writer({ nc, manager, clock }: Deps, by: string): AuditTrail {
  const requester = new Requester(nc, { inboxPrefix: `_INBOX_${by}` });
  return new AuditTrail({ requester, manager, clock, random: systemRandom, by });
}

async function verdictOf({ manager }: Pick<Deps, "manager">) {
  const { state } = await manager.streams.info(MESH_AUDIT.name);
  const verifier = new AuditVerifier();
  for (let seq = state.first_seq; seq <= state.last_seq; seq++) {
    const message = await manager.streams.getMessage(MESH_AUDIT.name, { seq });
    if (message !== null) verifier.add({ text: message.string(), seq, subject: message.subject });
  }
  return verifier.finish(state.last_seq);
}

test("several writers at once make one chain, and none is lost", async ({ deps }) => {
  const writers = ["a", "b", "c", "d"].map((by) => writer(deps, by));
  const written = await Promise.all(
    writers.map(async (trail, index) => {
      const ids: string[] = [];
      for (let n = 0; n < 15; n++) {
        ids.push((await trail.append(deed(`${index}-${n}`), never))?.target ?? "none");
      }
      return ids;
    }),
  );
  expect(new Set(written.flat()).size).toBe(60);
  expect(await verdictOf(deps)).toMatchObject({ entries: 60, problemCount: 0, head: { seq: 60 } });
});

test("the store takes no entry out again, and cannot be told to", async ({ deps }) => {
  const trail = writer(deps, "a");
  for (const target of ["n1", "n2"]) await trail.append(deed(target), never);
  const { streams } = deps.manager;
  await expect(streams.deleteMessage(MESH_AUDIT.name, 1)).rejects.toThrow(/not permitted|denied/);
  await expect(streams.purge(MESH_AUDIT.name)).rejects.toThrow(/not permitted|denied/);
  for (const change of [{ deny_delete: false }, { deny_purge: false }]) {
    await expect(streams.update(MESH_AUDIT.name, change)).rejects.toThrow(/can not cancel deny/);
  }
  expect(await verdictOf(deps)).toMatchObject({ entries: 2, problemCount: 0 });
});

test("a write whose answer is lost is there once", async ({ deps }) => {
  const { nc, clock } = deps;
  const requester = new Requester(nc, { inboxPrefix: "_INBOX_a" });
  let lost = 0;
  const losing = Object.create(requester, {
    stored: {
      value: async (...args: Parameters<Requester["stored"]>) => {
        const stored = await requester.stored(...args);
        if (lost++ % 2 === 0) return { kind: "unknown", message: "lost" };
        return stored;
      },
    },
  }) as Requester;
  const shared = { manager: deps.manager, clock, random: systemRandom };
  const trail = new AuditTrail({ ...shared, requester: losing, by: "a" });
  for (let n = 0; n < 6; n++) {
    expect(await trail.append(deed(`n${n}`), never)).toMatchObject({ seq: n + 1, target: `n${n}` });
  }
  expect(await verdictOf(deps)).toMatchObject({ entries: 6, problemCount: 0 });
});

test("what is told is written in its order, by whoever runs", async ({ deps, run }) => {
  const queue = new AuditQueue(writer(deps, "a"), deps.log, auditRefusals(deps.meters));
  for (const target of ["n1", "n2", "n3"]) queue.tell(deed(target));
  // One that no store takes holds up none of the others.
  queue.tell({ ...deed("n4"), details: { much: "x".repeat(70_000) } });
  queue.tell(deed("n5"));
  run((signal) => queue.run(signal));
  const entries = async () => (await deps.manager.streams.info(MESH_AUDIT.name)).state.messages;
  while ((await entries()) < 4) await deps.clock.sleep(10);
  expect(await verdictOf(deps)).toMatchObject({ entries: 4, problemCount: 0 });
  expect(await writer(deps, "b").newest("node.drain")).toMatchObject({ target: "n5", by: "a" });
});
