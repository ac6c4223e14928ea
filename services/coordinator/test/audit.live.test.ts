/** What the leader writes to the audit trail. */
import { AuditEntry, cancelSubject, decode, MESH_AUDIT, TaskRecord } from "@swarm-mesh/protocol";
import { type Deps, test } from "@swarm-mesh/testkit";
import { expect } from "vitest";
import { Config } from "../src/config.ts";
import { coordinator } from "../src/service.ts";

const config = Config.parse({ leaderLeaseTtlMs: 1000, sweepIntervalMs: 100, acceptTimeoutMs: 300 });
const start = (deps: Deps) => (signal: AbortSignal) =>
  coordinator.run(config, { ...deps, instance: "c1" }, signal);

test("tells of a cancel once, however often it is asked for", async ({ deps, run }) => {
  run(start(deps));
  await entryOf(deps, ({ action }) => action === "leader.elected");
  for (const id of ["t1", "t1", "t1", "last"]) {
    expect(await cancel(deps, id)).toMatchObject({ id, status: "cancelled" });
  }
  // They are written in their order.
  await entryOf(deps, ({ target }) => target === "last");
  const cancels = (await entriesOf(deps)).filter(({ action }) => action === "task.cancelled");
  expect(cancels.map(({ target }) => target)).toEqual(["t1", "last"]);
});

async function cancel({ requester }: Deps, id: string): Promise<unknown> {
  const reply = await requester.request(cancelSubject(id), "");
  return reply.kind === "message" ? TaskRecord.parse(reply.message.json()) : reply.kind;
}

/** Waits for an entry. */
async function entryOf(deps: Deps, wanted: (entry: AuditEntry) => boolean): Promise<AuditEntry> {
  for (;;) {
    const found = (await entriesOf(deps)).find(wanted);
    if (found !== undefined) return found;
    await deps.clock.sleep(20);
  }
}

async function entriesOf({ manager }: Deps): Promise<readonly AuditEntry[]> {
  const { state } = await manager.streams.info(MESH_AUDIT.name);
  const entries: AuditEntry[] = [];
  for (let seq = state.first_seq; seq <= state.last_seq; seq++) {
    const message = await manager.streams.getMessage(MESH_AUDIT.name, { seq });
    const entry = decode(AuditEntry, message?.data ?? new Uint8Array());
    if (entry.ok) entries.push(entry.value);
  }
  return entries;
}
