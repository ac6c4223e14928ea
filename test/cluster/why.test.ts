/**
 * `swarmctl why` at night: each cause is brought about in a real mesh, and then asked for.
 *
 * One mesh for all of them, in this order: what is killed in one test is back before the next.
 */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { TaskRecord } from "@swarm-mesh/protocol";
import { Mesh, NatsServer } from "@swarm-mesh/testkit";
import { headers, type NatsConnection } from "nats";
import { test as base, describe, expect, onTestFinished } from "vitest";
import { run } from "../../packages/cli/src/main.ts";
import { FakeIo } from "../../packages/cli/test/fake-io.ts";

const COUNT = join(import.meta.dirname, "..", "..", "packages", "cli", "handlers", "count.js");
const HANDLES = ["echo=cat", "flaky=exit 75", "final=exit 1", `count=module:${COUNT}`];
/** Longer than this file takes: it is cancelled, or dies with its node. */
const LONG = JSON.stringify({ n: 10_000, everyMs: 100 });
/** A server that is to be one of three, and whose peers never come: 9 is the port that discards. */
const LONELY = `
server_name: a
jetstream { store_dir: "." }
cluster { name: C, listen: "127.0.0.1:-1", routes: [ "nats://127.0.0.1:9", "nats://127.0.0.2:9" ] }
`;
const SLOTS = 2;
const RELOAD_MS = 250;
const PATIENCE_MS = 20_000;

interface Why {
  readonly about: { readonly kind: string; readonly id: string; readonly guessed: boolean };
  readonly cause: string;
  readonly sentence: string;
  readonly evidence: readonly string[];
}

/** A mesh, and somebody who asks it. */
class Night {
  readonly mesh: Mesh;

  private constructor(mesh: Mesh) {
    this.mesh = mesh;
  }

  static async start(): Promise<Night> {
    return new Night(await Mesh.start({ nodes: 3, slots: SLOTS, handles: HANDLES }));
  }

  /** Runs a command line as the dev mesh's own user, in this process. */
  async swarmctl(...args: readonly string[]) {
    const io = new FakeIo({ env: { MESH_DIR: this.mesh.dir } });
    const status = await run(args, io);
    return { status, stdout: io.stdout, stderr: io.stderr };
  }

  async why(...args: readonly string[]): Promise<Why> {
    const { status, stdout, stderr } = await this.swarmctl("why", ...args, "-o", "json");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    return JSON.parse(stdout) as Why;
  }

  /** Asks until the cause is this one, for what needs a moment to come about. */
  async until(cause: string, ...args: readonly string[]): Promise<Why> {
    let last: Why | undefined;
    const ask = async (): Promise<string> => {
      last = await this.why(...args);
      return last.cause;
    };
    await expect.poll(ask, { timeout: PATIENCE_MS, interval: 100 }).toBe(cause);
    return last ?? expect.unreachable();
  }

  async submit(capability: string, id: string, ...more: readonly string[]): Promise<void> {
    const payload = capability === "count" ? [LONG] : [];
    const args = ["task", "submit", capability, ...payload, "--id", id, ...more];
    expect(await this.swarmctl(...args)).toMatchObject({ status: 0, stderr: "" });
  }

  status(id: string, status: TaskRecord["status"]): Promise<TaskRecord> {
    return this.mesh.waitFor(id, (record) => record.status === status);
  }

  /** Kills a process and, at the end, starts its like again. */
  async without(kind: string, work: () => Promise<void>): Promise<void> {
    const [pid = 0] = this.mesh.pids(kind);
    process.kill(pid, "SIGKILL");
    try {
      await work();
    } finally {
      this.mesh.startService(kind);
    }
  }

  /** A node is back, and the mesh knows. */
  async back(id: string): Promise<void> {
    await this.mesh.startNode(id);
    await this.until("active", "node", id);
  }
}

const test = base.extend<{ night: Night }>({
  night: [
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
    async ({}, use) => {
      const night = await Night.start();
      await use(night);
      await night.mesh.stop();
    },
    { scope: "file" },
  ],
});

describe("a quiet night", () => {
  test("tasks that nobody takes", async ({ night }) => {
    await night.submit("gpu", "g1", "--lane", "high");
    const nobody = await night.why("task", "g1");
    expect(nobody).toMatchObject({
      cause: "nobody_offers",
      sentence: "g1 waits: no node offers gpu.",
    });
    expect(nobody.evidence[0]).toMatch(
      /^submitted at .* ago\), lane high, message \d+ of MESH_TASKS$/,
    );
    expect(nobody.evidence).toContain(
      "the nodes that are there offer count, echo, final and flaky",
    );
    expect(await night.why("capability", "gpu")).toMatchObject({
      cause: "nobody_offers",
      sentence: "gpu: no node offers gpu; 1 task waits for it.",
      evidence: [
        expect.stringMatching(/^lane high: 1 of 1 wait, the oldest for /),
        expect.anything(),
      ],
    });
    await night.submit("echo", "l1", "--requires", "gpu=a100");
    expect(await night.why("task", "l1")).toMatchObject({
      cause: "labels_nowhere",
      sentence: expect.stringMatching(
        /^l1 waits: it requires gpu=a100, and no node that offers the capability \(n1, n2 and n3\) has gpu=a100\.$/,
      ),
    });
  });

  test("tasks that have ended, and one that never was", async ({ night }) => {
    await night.submit("echo", "e1", "--wait");
    expect(await night.why("task", "e1")).toMatchObject({
      cause: "succeeded",
      sentence: expect.stringMatching(/^e1 succeeded at .* on n\d\/main, at try 1\.$/),
    });
    await night.submit("flaky", "f1", "--max-attempts", "2", "--backoff", "fixed:1s");
    await night.submit("final", "f2");
    await night.status("f1", "failed");
    const failed = await night.why("task", "f1");
    expect(failed).toMatchObject({
      cause: "failed",
      sentence: expect.stringMatching(
        /^f1 failed at .*: all 2 tries are used up, the last with .*\(handler_failed\)\.$/,
      ),
    });
    expect(failed.evidence.filter((line) => /^try \d failed on n\d: /.test(line))).toHaveLength(2);
    expect(failed.evidence.join()).toMatch(/dead letter \d+: `swarmctl dead get f1`/);
    await night.status("f2", "failed");
    expect(await night.why("task", "f2")).toMatchObject({
      cause: "failed",
      sentence: expect.stringMatching(
        /at try 1, and is not tried again: .*\(handler_final\) is final\.$/,
      ),
    });
    await night.submit("gpu", "c1");
    await night.swarmctl("task", "cancel", "c1");
    expect(await night.why("task", "c1")).toMatchObject({
      cause: "cancelled",
      sentence: expect.stringMatching(/^c1 was cancelled at .*, before it ran\.$/),
    });
    const client = await night.mesh.connect("client");
    const bad = headers();
    for (const [name, value] of [
      ["Nats-Msg-Id", "b1"],
      ["Mesh-Timeout", "soon"],
    ])
      bad.set(name ?? "", value ?? "");
    await client.request("mesh.tasks.submit.echo", "", { headers: bad, timeout: 5_000 });
    await night.status("b1", "rejected");
    expect(await night.why("task", "b1")).toMatchObject({
      cause: "rejected",
      sentence: expect.stringMatching(
        /^b1 was rejected at .* and never ran: .*"soon" is not a duration.*\(bad_header\)\.$/,
      ),
    });
    expect(await night.why("task", "nope")).toMatchObject({
      cause: "never_submitted",
      sentence: "nope was never submitted, or it ended more than a day ago.",
    });
  });
});

describe("a mesh that works", () => {
  test("tasks on their way, and nodes that are well", async ({ night }) => {
    await night.submit("flaky", "r1", "--backoff", "fixed:1h");
    const { dueAt } = await night.status("r1", "retrying");
    expect(await night.why("task", "r1")).toMatchObject({
      cause: "backoff",
      sentence: expect.stringContaining(
        `try 2 of r1 waits for its backoff until ${dayless(dueAt)}`,
      ),
    });
    await night.submit("count", "k1", "--prefer", "n2");
    await night.mesh.waitFor("k1", ({ progress }) => progress !== null);
    const runs = await night.why("task", "k1");
    expect(runs).toMatchObject({
      cause: "running",
      sentence: expect.stringMatching(/^k1 runs on n2\/main, try 1, since \d\d:\d\d:\d\d UTC/),
    });
    expect(runs.evidence[0]).toMatch(/^progress: {"reached":\d+,"of":10000}$/);
    expect(await night.why("node", "n2")).toMatchObject({
      cause: "active",
      sentence: expect.stringMatching(/^n2 is ACTIVE since .*; 1 of 2 slots busy\.$/),
    });
    expect(await night.why("capability", "echo")).toMatchObject({
      cause: "free",
      sentence: expect.stringMatching(
        /^echo: 5 of 6 slots for echo are free on n1, n2 and n3; 1 task waits for it\.$/,
      ),
    });
    expect(await night.why("node", "n9")).toMatchObject({
      cause: "never_joined",
      sentence: "n9 never joined: the mesh knows no node of this id.",
    });
    await night.swarmctl("task", "cancel", "k1");
  });

  test("a name alone is taken for what it is, by those who may look", async ({ night }) => {
    expect((await night.why("e1")).about).toEqual({ kind: "task", id: "e1", guessed: true });
    expect((await night.why("l1")).about).toEqual({ kind: "task", id: "l1", guessed: true });
    expect((await night.why("n1")).about).toEqual({ kind: "node", id: "n1", guessed: true });
    expect((await night.why("gpu")).about).toEqual({
      kind: "capability",
      id: "gpu",
      guessed: true,
    });
    const asked = await night.mesh.swarmctl("why", "n1");
    expect(asked).toMatchObject({ status: 0, stderr: "" });
    expect(asked.stdout).toMatch(/^n1 is ACTIVE since .*\n {2}- /);
    expect(asked.stdout).toContain("n1 was taken for a node; else ask `swarmctl why task n1`");
    expect(await night.swarmctl("why", "nope")).toMatchObject({
      status: 3,
      stderr: expect.stringContaining("no task, node or capability nope is known"),
    });
    const as = (user: string, ...args: string[]) =>
      night.swarmctl(
        "why",
        ...args,
        "-o",
        "json",
        "--server",
        night.mesh.url,
        "--nkey",
        night.mesh.key(user),
      );
    const viewer = await as("viewer", "task", "g1");
    expect(JSON.parse(viewer.stdout)).toMatchObject({
      cause: "not_found_in_queue",
      evidence: expect.arrayContaining(["this key may not read the queue; the admin's may"]),
    });
    expect(JSON.parse((await as("viewer", "node", "n1")).stdout)).toMatchObject({
      cause: "active",
    });
    expect(JSON.parse((await as("viewer", "capability", "gpu")).stdout)).toMatchObject({
      cause: "nobody_offers",
      // What was cancelled is still stored; who may not read does not see that.
      sentence: "gpu: no node offers gpu; 2 tasks wait for it.",
    });
    expect((await night.why("capability", "gpu")).sentence).toContain("; 1 task waits for it.");
    expect(await as("client", "task", "g1")).toMatchObject({ status: 6 });
  });
});

describe("nodes that are there and do not take it", () => {
  test("full, then draining, then gone in order", async ({ night }) => {
    await night.mesh.startNode("n4", { args: ["--handle", "solo=sleep 300"] });
    for (const id of ["s1", "s2"]) {
      await night.submit("solo", id);
      await night.status(id, "running");
    }
    await night.submit("solo", "s3");
    expect(await night.why("task", "s3")).toMatchObject({
      cause: "slots_busy",
      sentence: expect.stringMatching(
        /^s3 waits: all 2 slots for solo on n4 are busy \(the oldest waits \d+m?s\)\.$/,
      ),
    });
    expect(await night.why("node", "n4")).toMatchObject({
      cause: "slots_busy",
      sentence: "n4 is ACTIVE, and all its 2 slots are busy.",
    });
    expect(await night.why("capability", "solo")).toMatchObject({
      cause: "slots_busy",
      sentence: expect.stringMatching(/^solo: all 2 slots .*; 1 task waits for it\.$/),
    });
    await night.swarmctl("node", "drain", "n4", "--deadline", "5m");
    expect(await night.until("draining", "node", "n4")).toMatchObject({
      sentence: expect.stringMatching(
        /^n4 is draining since .*, with 2 tasks left: swarmctl node drain\.$/,
      ),
    });
    expect(await night.why("task", "s3")).toMatchObject({
      cause: "draining",
      sentence: "s3 waits: n4, the only node that offers solo, is draining.",
    });
    expect(await night.why("task", "s1")).toMatchObject({
      cause: "draining",
      sentence: expect.stringMatching(
        /^s1 runs on n4\/main, .*; the node is draining, so it ends there or is handed back\.$/,
      ),
    });
    for (const id of ["s1", "s2", "s3"]) await night.swarmctl("task", "cancel", id);
    expect(await night.until("left", "node", "n4")).toMatchObject({
      sentence: expect.stringMatching(/^n4 left in order at .*: swarmctl node drain\.$/),
    });
  });

  test("joining, refusing, and degraded: a node made by hand", async ({ night }) => {
    const node = await HandMade.start(night.mesh);
    expect(await night.why("node", "raw1")).toMatchObject({ cause: "joining" });
    await night.submit("raw", "w1");
    expect(await night.why("task", "w1")).toMatchObject({
      cause: "joining",
      sentence: "w1 waits: raw1, the only node that offers raw, is still joining.",
    });
    await node.renew();
    expect(await night.until("refused", "task", "w1")).toMatchObject({
      sentence: expect.stringMatching(
        /^w1 waits again: raw1 refused it at .* and no other node has taken it\.$/,
      ),
      evidence: expect.arrayContaining([expect.stringMatching(/^raw1 refused w1 /)]),
    });
    expect((await night.until("shunned", "node", "raw1")).evidence[0]).toMatch(/^raw1 refused w1 /);
    // It answers, and renews no more.
    expect(await night.until("degraded", "node", "raw1")).toMatchObject({
      sentence: expect.stringMatching(/^raw1 is DEGRADED since .* and gets nothing new, because /),
    });
    expect(await night.why("task", "w1")).toMatchObject({
      cause: "degraded",
      sentence: "w1 waits again: raw1, the only node that offers raw, is degraded.",
    });
    await night.swarmctl("task", "cancel", "w1");
    await node.close();
    await night.until("node_failed", "node", "raw1");
  });
});

describe("things that die", () => {
  test("a node that is frozen, and one that is killed", async ({ night }) => {
    await night.submit("count", "m1", "--prefer", "n2");
    await night.status("m1", "running");
    night.mesh.kill("n2", "SIGSTOP");
    expect(await night.why("task", "m1")).toMatchObject({
      cause: "node_silent",
      sentence: expect.stringMatching(
        /^m1 ran on n2\/main, which does not answer; the health-monitor has not judged it yet/,
      ),
    });
    night.mesh.kill("n2");
    expect(await night.until("moved", "task", "m1")).toMatchObject({
      sentence: expect.stringMatching(
        /^m1 runs on n[13]\/main, try 2, since .*; it was moved there from n2, which /,
      ),
      evidence: expect.arrayContaining([
        expect.stringMatching(/^moved from n2 to n[13], at .* \(n\w+\)$/),
      ]),
    });
    expect(await night.until("node_failed", "node", "n2")).toMatchObject({
      sentence: expect.stringMatching(
        /^n2 is FAILED since .*, because connection closed and nobody answers\.$/,
      ),
      evidence: expect.arrayContaining(["no task is on it any more"]),
    });
    await night.swarmctl("task", "cancel", "m1");
    await night.back("n2");
  });

  test("a node, without a health-monitor", async ({ night }) => {
    await night.without("health-monitor", async () => {
      night.mesh.kill("n3");
      expect(await night.until("no_monitor", "node", "n3")).toMatchObject({
        sentence:
          "n3 is ACTIVE in its record and does not answer; no health-monitor runs, so nobody is failed.",
      });
    });
    await night.until("node_failed", "node", "n3");
    await night.back("n3");
  });
});

describe("things that lead, or judge", () => {
  test("the coordinator, and a node while none leads", async ({ night }) => {
    await night.submit("count", "q1", "--prefer", "n3");
    await night.status("q1", "running");
    await night.without("coordinator", async () => {
      await night.submit("echo", "q2");
      const waits = await night.until("no_leader", "task", "q2");
      expect(waits.sentence).toBe("q2 waits: no coordinator leads, so nothing is placed.");
      expect(waits.evidence[1]).toMatch(/no coordinator answers discovery$/);
      expect(await night.why("capability", "echo")).toMatchObject({ cause: "no_leader" });
      const runs = await night.why("task", "q1");
      expect(runs.cause).toBe("running");
      expect(runs.evidence.join()).toContain("its outcome is kept at the node until one leads");
      night.mesh.kill("n3");
      expect(await night.until("no_leader", "task", "q1")).toMatchObject({
        sentence:
          "q1 ran on n3/main, whose life is over; no coordinator leads, so nobody moves it.",
      });
    });
    await night.status("q2", "succeeded");
    await night.until("moved", "task", "q1");
    await night.swarmctl("task", "cancel", "q1");
    await night.back("n3");
  });

  test("most nodes at once: the monitor's brake", async ({ night }) => {
    await night.submit("count", "z1", "--prefer", "n1");
    await night.status("z1", "running");
    for (const id of ["n1", "n2", "n3"]) night.mesh.kill(id);
    const node = await night.until("brake", "node", "n1");
    expect(node).toMatchObject({
      sentence:
        "n1 is ACTIVE in its record and does not answer; the health-monitor's brake is on, so leases decide.",
    });
    expect(node.evidence[0]).toMatch(/^3 of 3 living nodes do not answer: n1, n2 and n3$/);
    const task = await night.until("brake", "task", "z1");
    // It is tried on one after the other meanwhile.
    expect(task.sentence).toMatch(
      /^z1 (ran on n[123]\/main, which does|waits again: n1, n2 and n3, all that offer count, do) not answer; the health-monitor's brake is on, so leases decide\.$/,
    );
    expect(await night.why("capability", "echo")).toMatchObject({ cause: "brake" });
    // What was concluded from outside is what the monitor itself says.
    await expect
      .poll(() => night.mesh.log, { timeout: PATIENCE_MS })
      .toContain("too many nodes suspect at once: leases decide");
    expect(await night.until("nobody_offers", "task", "z1")).toMatchObject({
      evidence: expect.arrayContaining([
        expect.stringMatching(/^n1 offered it, and is FAILED since /),
      ]),
    });
  });
});

describe("the store", () => {
  test("has no quorum: one server of three", async () => {
    const lonely = await NatsServer.start(LONELY);
    onTestFinished(() => lonely.stop());
    const io = new FakeIo();
    const status = await run(["why", "task", "t1", "--server", lonely.url, "-o", "json"], io);
    expect({ status, stderr: io.stderr }).toEqual({ status: 0, stderr: "" });
    expect(JSON.parse(io.stdout)).toMatchObject({
      cause: "store_unavailable",
      sentence: expect.stringMatching(
        /^Nothing moves .* its servers have no quorum, or are electing a leader\.$/,
      ),
    });
  });
});

/** A time of today, or of tomorrow, as answers put it. */
function dayless(iso: string | null): string {
  const [day, time = ""] = (iso ?? "").split("T");
  const today = new Date().toISOString().startsWith(day ?? "");
  return `${today ? "" : `${day} `}${time.slice(0, 8)} UTC`;
}

/** A node by plain NATS that answers pings, has a lease when told to, and refuses every task. */
class HandMade {
  readonly #nc: NatsConnection;
  readonly #incarnation: number;

  private constructor(nc: NatsConnection, incarnation: number) {
    this.#nc = nc;
    this.#incarnation = incarnation;
  }

  static async start(mesh: Mesh): Promise<HandMade> {
    await mesh.swarmctl("keys", "add", "raw1", "--dir", mesh.dir);
    mesh.kill("nats-server", "SIGHUP");
    // Who connects in the very milliseconds of a reload may wait 20 s for nothing (seen).
    await sleep(RELOAD_MS);
    const nc = await mesh.connect("raw1");
    const agents = [{ name: "hand", capabilities: ["raw"], slots: 1 }];
    const body = JSON.stringify({ host: "nowhere", agents });
    const welcome = await nc.request("mesh.registry.register.raw1", body, { timeout: 5_000 });
    const { incarnation } = welcome.json<{ incarnation: number }>();
    const busy = { error: { code: "busy", message: "not now", retryable: true } };
    nc.subscribe("mesh.node.raw1.*", {
      callback: (_, message) => {
        const isPing = message.subject.endsWith(".ping");
        message.respond(JSON.stringify(isPing ? { incarnation, running: 0 } : busy));
      },
    });
    await nc.flush();
    return new HandMade(nc, incarnation);
  }

  /** Takes its lease, once. */
  async renew(): Promise<void> {
    const lease = { incarnation: this.#incarnation, running: 0, slots: 1, rttMs: 1, lagMs: 0 };
    const ttl = headers();
    ttl.set("Nats-TTL", "6s");
    await this.#nc.request("$KV.mesh_leases.node.raw1", JSON.stringify(lease), {
      headers: ttl,
      timeout: 5_000,
    });
  }

  close(): Promise<void> {
    return this.#nc.close();
  }
}
