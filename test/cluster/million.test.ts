/**
 * More tasks wait than anyone could hold: they wait in the server, and stand in nobody's way.
 *
 * MESH_WAITING sets how many; the figure in docs/failure.md is of 1 000 000.
 */
import { readFileSync } from "node:fs";
import { Requester } from "@swarm-mesh/bus";
import { decode, isFinal, LeaderLease, submitSubject, TaskRecord } from "@swarm-mesh/protocol";
import { headers, type NatsConnection } from "nats";
import { expect } from "vitest";
import { test } from "./history.ts";

const WAITING = Number(process.env["MESH_WAITING"] ?? 50_000);
const NOBODYS = Math.ceil(WAITING / 10);
const IN_FLIGHT_MAX = 512;
const GROWTH_MAX_BYTES = 60 * 1024 * 1024;

test.override({ options: { nodes: 1, slots: 4, handles: ["busy=sleep 0.2", "echo=cat"] } });

test("waiting tasks cost the coordinator nothing and hold nobody up", async ({ history }) => {
  const { mesh } = history;
  const admin = await mesh.connect("admin");
  const client = await mesh.connect("client");
  const requester = new Requester(client, { inboxPrefix: "_INBOX_client" });
  const lease = await admin.request(
    "$JS.API.DIRECT.GET.KV_mesh_leases",
    JSON.stringify({ last_by_subj: "$KV.mesh_leases.leader.coordinator" }),
  );
  const leader = decode(LeaderLease, lease.data);
  if (!leader.ok) throw new Error(leader.problem);
  const order = await lanesInOrder(client);
  await flood(requester, submitSubject("busy", "low"), 1_000);
  const before = rssOf(leader.value.pid);
  await flood(requester, submitSubject("busy", "low"), WAITING - 1_000);
  await flood(requester, submitSubject("nobody"), NOBODYS);

  // Another capability's task goes first: at once, among so many.
  const started = performance.now();
  await history.submit(submitSubject("echo"), "hello", { "Nats-Msg-Id": "meanwhile" });
  await history.until("it has run", () => history.records.get("meanwhile")?.status === "succeeded");
  expect(performance.now() - started).toBeLessThan(1_000);

  const startedBefore = order.length;
  const high = ["h0", "h1", "h2", "h3", "h4", "h5", "h6", "h7"];
  for (const id of high) {
    await history.submit(submitSubject("busy", "high"), 1, { "Nats-Msg-Id": id });
  }
  await history.until("the urgent ones are done", () =>
    high.every((id) => isFinal(history.records.get(id)?.status ?? "running")),
  );
  // Those that the leader had in hand already, a slot each and as many again, may go before.
  expect(order).toContain("low");
  const overtaken = order.slice(startedBefore);
  const last = overtaken.lastIndexOf("high");
  expect(overtaken.slice(0, last).filter((lane) => lane === "low").length).toBeLessThanOrEqual(12);
  const grown = rssOf(leader.value.pid) - before;
  process.stderr.write(
    `${WAITING + NOBODYS} waiting → the leader grew by ${(grown / 2 ** 20).toFixed(0)} MiB\n`,
  );
  if (process.platform === "linux") expect(grown).toBeLessThan(GROWTH_MAX_BYTES);
  expect(history.violations).toEqual([]);
});

/** The lane of each task of `busy`, in the order in which they began to run. */
async function lanesInOrder(nc: NatsConnection): Promise<string[]> {
  const lanes: string[] = [];
  nc.subscribe("mesh.tasks.state.*", {
    callback: (_, message) => {
      const record = decode(TaskRecord, message.data);
      if (!record.ok || record.value.capability !== "busy") return;
      if (record.value.status === "running") lanes.push(record.value.lane);
    },
  });
  await nc.flush();
  return lanes;
}

/** Submits `count` tasks, a window of them at a time. */
async function flood(requester: Requester, subject: string, count: number): Promise<void> {
  let next = 0;
  const submit = async (): Promise<void> => {
    while (next < count) {
      const h = headers();
      h.set("Nats-Msg-Id", `${subject.replaceAll(".", "-")}-${count}-${next++}`);
      const stored = await requester.stored(subject, "{}", { headers: h, timeoutMs: 30_000 });
      expect(stored.kind).toBe("stored");
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT_MAX }, submit));
}

/** Memory that a process holds, in bytes; 0 where the system does not say it this way. */
function rssOf(pid: number): number {
  if (process.platform !== "linux") return 0;
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kib) * 1024;
}
