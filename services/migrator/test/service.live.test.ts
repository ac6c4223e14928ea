import {
  decode,
  encode,
  heldSubject,
  lastTokenOf,
  MESH_EVENTS,
  MoveRequest,
  moveSubject,
  type NodeEventKind,
  nodeEventSubject,
  wireError,
} from "@swarm-mesh/protocol";
import { isoTime, latch } from "@swarm-mesh/runtime";
import { type Deps, type Fixtures, test } from "@swarm-mesh/testkit";
import { nanos } from "nats";
import { expect } from "vitest";
import { Config } from "../src/config.ts";
import { runMigrator } from "../src/service.ts";

test("has every task of a failed node moved, and of one that left", async ({ deps, run }) => {
  const leader = new Leader(deps, { n1: ["t1", "t2"], n2: ["t3"] });
  await start(deps, run);
  await tell(deps, "n1", "failed");
  await tell(deps, "n2", "left");
  await settled(deps);
  expect(leader.moves.sort()).toEqual(["t1 node_failed", "t2 node_failed", "t3 node_left"]);
});

test("two replicas move each task once", async ({ deps, run }) => {
  const tasks = Array.from({ length: 100 }, (_, index) => `t${index}`);
  const leader = new Leader(deps, { n1: tasks });
  await start(deps, run);
  await start({ ...deps, instance: "test-2" }, run);
  await tell(deps, "n1", "failed");
  await settled(deps);
  expect(leader.moves).toHaveLength(100);
});

test("takes up the events of before its start, and acknowledges those with nothing left", async ({
  deps,
  run,
}) => {
  await tell(deps, "n1", "failed");
  await tell(deps, "n2", "left");
  const leader = new Leader(deps, { n2: ["t1"] });
  await start(deps, run);
  await settled(deps);
  expect(leader.moves).toEqual(["t1 node_left"]);
});

test("asks again until somebody leads", async ({ deps, run }) => {
  await start(deps, run);
  await tell(deps, "n1", "failed");
  const follower = deps.nc.subscribe(heldSubject("n1"), {
    callback: (_, message) => {
      message.respond(encode({ error: wireError("not_leader", "not yet", true) }));
    },
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  follower.unsubscribe();
  const leader = new Leader(deps, { n1: ["t1"] });
  await settled(deps);
  expect(leader.moves).toEqual(["t1 node_failed"]);
});

test("moves what the leader finds only later", async ({ deps, run }) => {
  const leader = new Leader(deps, { n1: ["t1"] });
  leader.adopted.set("t1", "t2");
  await start(deps, run);
  await tell(deps, "n1", "failed");
  await settled(deps);
  expect(leader.moves).toEqual(["t1 node_failed", "t2 node_failed"]);
});

test("puts off what the leader refuses, and takes it up again", async ({ deps, run }) => {
  const leader = new Leader(deps, { n1: ["t1"] });
  leader.refusals = 1;
  await start(deps, run);
  await tell(deps, "n1", "failed");
  await settled(deps);
  expect(leader.moves).toEqual(["t1 node_failed"]);
});

test("drops an event that is none", async ({ deps, run }) => {
  const leader = new Leader(deps, { n1: ["t1"] });
  await start(deps, run);
  await deps.requester.stored(nodeEventSubject("n1", "failed"), "not JSON");
  await tell(deps, "n1", "failed", { to: "ACTIVE" });
  await settled(deps);
  expect(leader.moves).toEqual([]);
});

test("gives an event back when it stops half-way, for another replica", async ({ deps, run }) => {
  const first = new AbortController();
  const ready = latch<void>();
  const own = { ...deps, ready: () => ready.resolve() };
  const stopped = runMigrator(Config.parse({}), own, first.signal);
  await ready.promise;
  await tell(deps, "n1", "failed");
  await eventually(async () => (await consumer(deps)).num_ack_pending === 1);
  first.abort();
  await stopped;
  const leader = new Leader(deps, { n1: ["t1"] });
  await start(deps, run);
  await settled(deps);
  expect(leader.moves).toEqual(["t1 node_failed"]);
});

test("has the server say every second that it knows of the pull", async ({ deps, run }) => {
  // What dies with the consumer's leader is nothing that a single server can show.
  const pulls = deps.nc.subscribe(`$JS.API.CONSUMER.MSG.NEXT.${MESH_EVENTS.name}.migrator`);
  await start(deps, run);
  for await (const pull of pulls) {
    expect(pull.json()).toMatchObject({ idle_heartbeat: nanos(1_000), expires: nanos(10_000) });
    break;
  }
});

test("makes its consumer anew when somebody deleted it", async ({ deps, run }) => {
  const leader = new Leader(deps, { n1: ["t1"] });
  await start(deps, run);
  await deps.nc.flush();
  await deps.manager.consumers.delete(MESH_EVENTS.name, "migrator");
  await tell(deps, "n1", "failed");
  await eventually(async () => leader.moves.length === 1);
});

test("refuses a consumer that is not its own", async ({ deps }) => {
  await deps.manager.consumers.add(MESH_EVENTS.name, {
    durable_name: "migrator",
    ack_policy: "explicit",
    max_deliver: 3,
  });
  const failure = runMigrator(Config.parse({}), deps, new AbortController().signal);
  await expect(failure).rejects.toThrow(/max_deliver is 3, expected -1/);
});

/** What a leading coordinator answers: each try of a task is moved once. */
class Leader {
  /** `<task> <reason>`, in order. */
  readonly moves: string[] = [];
  /** A task that is found on the node once another was moved. */
  readonly adopted = new Map<string, string>();
  /** Requests to refuse for good. */
  refusals = 0;
  readonly #held: Map<string, string[]>;

  constructor(deps: Deps, held: Readonly<Record<string, string[]>>) {
    this.#held = new Map(Object.entries(held));
    deps.nc.subscribe(heldSubject("*"), {
      callback: (_, message) => {
        const ids = this.#held.get(lastTokenOf(message.subject)) ?? [];
        if (this.refusals-- > 0) message.respond(encode({ error: wireError("bad_request", "") }));
        else message.respond(encode({ tasks: ids.map((id) => ({ id, attempt: 1 })) }));
      },
    });
    deps.nc.subscribe(moveSubject("*"), {
      callback: (_, message) => {
        const id = lastTokenOf(message.subject);
        const request = decode(MoveRequest, message.data);
        if (request.ok) message.respond(encode({ answer: this.#move(id, request.value) }));
      },
    });
  }

  #move(id: string, { from, reason }: MoveRequest): "moved" | "stale" {
    const ids = this.#held.get(from) ?? [];
    if (!ids.includes(id)) return "stale";
    const next = this.adopted.get(id);
    const rest = ids.filter((each) => each !== id);
    this.#held.set(from, next === undefined ? rest : [...rest, next]);
    this.moves.push(`${id} ${reason}`);
    return "moved";
  }
}

async function start(deps: Deps, run: Fixtures["run"]): Promise<void> {
  const ready = latch<void>();
  const own = { ...deps, ready: () => ready.resolve() };
  run((signal) =>
    runMigrator(Config.parse({ retryAfterMs: 50, requestTimeoutMs: 200 }), own, signal),
  );
  await ready.promise;
}

async function tell(deps: Deps, node: string, kind: NodeEventKind, more = {}): Promise<void> {
  const to = kind === "left" ? "LEFT" : "FAILED";
  const at = isoTime(Date.now());
  const event = { node, incarnation: 1, from: "ACTIVE", to, reason: "", at, by: "test", ...more };
  await deps.requester.stored(nodeEventSubject(node, kind), encode(event));
}

function consumer(deps: Deps) {
  return deps.manager.consumers.info(MESH_EVENTS.name, "migrator");
}

/** Until every event is acknowledged. */
async function settled(deps: Deps): Promise<void> {
  await eventually(async () => {
    const { num_pending, num_ack_pending, delivered } = await consumer(deps);
    // A consumer learns of a new message a moment after it is stored.
    return delivered.consumer_seq > 0 && num_pending + num_ack_pending === 0;
  });
}

async function eventually(look: () => Promise<boolean>): Promise<void> {
  while (!(await look())) await new Promise((resolve) => setTimeout(resolve, 10));
}
