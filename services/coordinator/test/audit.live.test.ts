/** What the leader writes to the audit trail. */
import { DiscardPolicy } from "@nats-io/jetstream";
import { createLogger } from "@swarm-mesh/process";
import { AuditEntry, cancelSubject, decode, MESH_AUDIT, TaskRecord } from "@swarm-mesh/protocol";
import { type Deps, test } from "@swarm-mesh/testkit";
import { expect } from "vitest";
import { Config } from "../src/config.ts";
import { coordinator } from "../src/service.ts";

const config = Config.parse({ leaderLeaseTtlMs: 1000, sweepIntervalMs: 100, acceptTimeoutMs: 300 });
const log = createLogger({
  service: "coordinator",
  instance: "test",
  level: process.env["LOG"] ?? "silent",
});
const start = (deps: Deps) => (signal: AbortSignal) =>
  coordinator.run(config, { ...deps, log, instance: "c1" }, signal);

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

test("is written again when the store that refused it takes it, and says so meanwhile", async ({
  deps,
  run,
}) => {
  const { manager, meters } = deps;
  run(start({ ...deps, meters }));
  await entryOf(deps, ({ action }) => action === "leader.elected");
  // As a disk that is full.
  await manager.streams.update(MESH_AUDIT.name, { discard: DiscardPolicy.New, max_msgs: 1 });
  for (const id of ["t1", "t2"]) await cancel(deps, id);
  const refusals = async () => {
    const meter = [...meters.all()].find(({ name }) => name === "mesh_audit_refused_total");
    return meter !== undefined && "read" in meter ? (await meter.read())[0]?.value : undefined;
  };
  await expect.poll(refusals, { timeout: 15_000 }).toBeGreaterThan(0);
  await cancel(deps, "t3");
  await manager.streams.update(MESH_AUDIT.name, { discard: DiscardPolicy.Old, max_msgs: -1 });
  await entryOf(deps, ({ target }) => target === "t3");
  const targets = (await entriesOf(deps)).map(({ target }) => target);
  expect(targets).toEqual(["coordinator", "t1", "t2", "t3"]);
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
  for (let seq = Math.max(1, state.first_seq); seq <= state.last_seq; seq++) {
    const message = await manager.streams.getMessage(MESH_AUDIT.name, { seq });
    const entry = decode(AuditEntry, message?.data ?? new Uint8Array());
    if (entry.ok) entries.push(entry.value);
  }
  return entries;
}
