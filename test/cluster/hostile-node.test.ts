/** What a hostile node, or one made by hand, says; and what a node is told by others. */
import { setTimeout as sleep } from "node:timers/promises";
import { CHECKPOINT_MAX_BYTES, NODE_CAPABILITIES_MAX, NODE_SLOTS_MAX } from "@swarm-mesh/protocol";
import { describe, expect } from "vitest";
import { type Answer, type HeaderList, type Outside, RAW_REGISTRATION, test } from "./outside.ts";

/** As the server's PubAck has it: a node can make one arrive on another node's subject. */
const PUB_ACK = JSON.stringify({ stream: "MESH_TASKS", seq: 7 });
const REGISTER = "mesh.registry.register.raw1";

test.afterEach(({ outside }) => outside.unharmed());

const agent = RAW_REGISTRATION.agents[0];
const HALF = NODE_CAPABILITIES_MAX / 2 + 1;

/** What is changed in a good registration, and the field that the refusal names. */
const BAD_REGISTRATIONS: [string, unknown, string][] = [
  ["no agents", { agents: [] }, "agents"],
  ["agents that are no list", { agents: {} }, "agents"],
  ["0 slots", { agents: [{ ...agent, slots: 0 }] }, "agents.0.slots"],
  ["1 001 slots", { agents: [{ ...agent, slots: NODE_SLOTS_MAX + 1 }] }, "agents.0.slots"],
  [
    "1 002 slots in two agents",
    {
      agents: [
        { ...agent, slots: 501 },
        { ...agent, name: "b", slots: 501 },
      ],
    },
    "agents",
  ],
  ["half a slot", { agents: [{ ...agent, slots: 0.5 }] }, "agents.0.slots"],
  [
    "257 capabilities",
    { agents: [{ ...agent, capabilities: names(257) }] },
    "agents.0.capabilities",
  ],
  [
    "258 in two agents",
    {
      agents: [
        { ...agent, capabilities: names(HALF) },
        { name: "b", slots: 1, capabilities: names(2 * HALF).slice(HALF) },
      ],
    },
    "agents",
  ],
  [
    "a capability with a dot",
    { agents: [{ ...agent, capabilities: ["a.b"] }] },
    "agents.0.capabilities.0",
  ],
  ["an agent twice", { agents: [agent, agent] }, "agents"],
  ["a bad label", { labels: { "a b": "c" } }, "labels.a b"],
  ["a label that is no text", { labels: { gpu: 1 } }, "labels.gpu"],
  ["65 labels", { labels: Object.fromEntries(names(65).map((name) => [name, "x"])) }, "labels"],
  ["a bad port", { port: 65_536 }, "port"],
  ["an unknown role", { role: "king" }, "role"],
  ["a long host", { host: "h".repeat(256) }, "host"],
  ["negative cores", { cpu: -1 }, "cpu"],
];

describe("a registration", () => {
  test.for(BAD_REGISTRATIONS)(
    "with %s is refused by name",
    async ([, change, field], { outside }) => {
      const body = JSON.stringify({ ...RAW_REGISTRATION, ...(change as object) });
      const answer = await outside.ask(outside.raw, REGISTER, body);
      expect(answer.error).toMatchObject({ code: "bad_request", retryable: false });
      expect(answer.error?.message).toContain(`${field}: `);
    },
  );

  test.for(["", "{", "7", "[]", "null", '"x"', nested(10_000)])(
    "that is no registration is refused %#",
    async (body, { outside }) => {
      const answer = await outside.ask(outside.raw, REGISTER, body);
      expect(answer.error).toMatchObject({ code: "bad_request", retryable: false });
    },
  );

  test.for([
    "mesh.registry.register.n1",
    "mesh.registry.deregister.n1",
    "mesh.coordinator.sync.n1",
    "mesh.tasks.outcome.n1.x",
    "$KV.mesh_leases.node.n1",
    "$KV.mesh_leases.leader.coordinator",
    "$KV.mesh_checkpoints.n1.x",
    "mesh.node.n1.drain",
    "mesh.tasks.retry.echo",
  ])("and nothing else is said in another's name: %s", async (subject, { outside }) => {
    await expect(outside.ask(outside.raw, subject, "{}")).rejects.toThrow(/permission/i);
  });

  test("of an id that lives is refused; of two at once, one is welcome", async ({ outside }) => {
    const node = await outside.rawNode();
    const other = await outside.mesh.connect("raw1");
    const body = JSON.stringify(RAW_REGISTRATION);
    const twice = await outside.ask(other, REGISTER, body);
    expect(twice.error).toMatchObject({ code: "id_in_use" });
    await node.leave();
    const both = await Promise.all([
      outside.ask(outside.raw, REGISTER, body),
      outside.ask(other, REGISTER, body),
    ]);
    const welcome = both.filter((answer) => typeof answer["incarnation"] === "number");
    expect(welcome, JSON.stringify(both)).toHaveLength(1);
    expect(both.map((answer) => answer.error?.code ?? "welcome").sort()).toEqual([
      "id_in_use",
      "welcome",
    ]);
    const [{ incarnation } = {}] = welcome;
    const stale = JSON.stringify({ incarnation: Number(incarnation) - 1 });
    const leave = "mesh.registry.deregister.raw1";
    expect((await outside.ask(other, leave, stale)).error).toMatchObject({ code: "stale" });
    expect((await outside.ask(other, leave, "{}")).error).toMatchObject({ code: "bad_request" });
    expect(await outside.ask(other, leave, JSON.stringify({ incarnation }))).toMatchObject({
      state: "LEFT",
    });
    await other.close();
  });
});

describe("a node that has tasks", () => {
  test("its outcomes: malformed, stale, recorded once", async ({ outside }) => {
    const node = await outside.rawNode();
    const { attempt, epoch } = await node.task("o1");
    const good = { attempt, epoch, ok: true, result: "by hand" };
    const malformed: [unknown, string][] = [
      [{ ...good, attempt: 0 }, "attempt"],
      [{ ...good, attempt: "1" }, "attempt"],
      [{ ...good, epoch: -1 }, "epoch"],
      [{ attempt, epoch, ok: false }, "error"],
      [
        { attempt, epoch, ok: false, error: { code: "BAD CODE", message: "", retryable: true } },
        "error.code",
      ],
      [[], "outcome"],
    ];
    for (const [body, word] of malformed) {
      const answer = await node.outcome("o1", JSON.stringify(body));
      expect(answer.error).toMatchObject({
        code: "bad_request",
        message: expect.stringContaining("outcome"),
      });
      expect(JSON.stringify(answer), word).toContain("outcome");
    }
    for (const body of ["", "{", "\u0000"]) {
      expect((await node.outcome("o1", body)).error).toMatchObject({ code: "bad_request" });
    }
    const old = JSON.stringify({ ...good, attempt: attempt + 1 });
    expect(await node.outcome("o1", old)).toEqual({ answer: "stale" });
    for (const id of ["never-was", "ünï", "x".repeat(2_000)]) {
      expect(await node.outcome(id, JSON.stringify(good))).toEqual({ answer: "stale" });
    }
    expect(await node.outcome("o1", JSON.stringify(good))).toEqual({ answer: "recorded" });
    const record = await outside.record("o1");
    expect(record).toMatchObject({ status: "succeeded", result: "by hand", node: "raw1" });
    expect(await node.outcome("o1", JSON.stringify(good))).toEqual({ answer: "recorded" });
    const other = {
      attempt,
      epoch,
      ok: false,
      error: { code: "late", message: "", retryable: true },
    };
    expect(await node.outcome("o1", JSON.stringify(other))).toEqual({ answer: "stale" });
    expect(await outside.get("o1")).toEqual(record);
    await node.leave();
  });

  test("an outcome of a task that another node has is stale", async ({ outside }) => {
    const node = await outside.rawNode();
    const id = await outside.submit("slow", "", { "Nats-Msg-Id": "anothers" });
    await outside.record(id, (status) => status === "running");
    const forged = JSON.stringify({ attempt: 1, epoch: 1, ok: true, result: "stolen" });
    expect(await node.outcome(id, forged)).toEqual({ answer: "stale" });
    expect(await outside.get(id)).toMatchObject({ status: "running" });
    await outside.ask(outside.client, `mesh.tasks.cancel.${id}`);
    await node.leave();
  });

  test("progress that is none, or of another try, changes nothing", async ({ outside }) => {
    const node = await outside.rawNode();
    const { attempt, epoch } = await node.task("p1");
    const bodies = ["", "{", "[]", '{"attempt":0}', '{"attempt":9,"progress":"forged"}'];
    for (const body of bodies) outside.raw.publish("mesh.tasks.progress.raw1.p1", body);
    await outside.raw.flush();
    await sleep(1_500); // A sweep writes what was noted.
    expect(await outside.get("p1")).toMatchObject({ status: "running", progress: null });
    await node.outcome("p1", JSON.stringify({ attempt, epoch, ok: true }));
    await node.leave();
  });
});

describe("a node that says too much", () => {
  test("a result nested too deep, or too large for the record, ends its task", async ({
    outside,
  }) => {
    const node = await outside.rawNode();
    const results = { deep: nested(10_000), large: `"${"x".repeat(1_500_000)}"` };
    for (const [id, result] of Object.entries(results)) {
      const { attempt, epoch } = await node.task(id);
      const body = `{"attempt":${attempt},"epoch":${epoch},"ok":true,"result":${result}}`;
      expect(await node.outcome(id, body), id).toEqual({ answer: "recorded" });
      const record = await outside.record(id);
      expect(record).toMatchObject({ status: "failed", result: null, error: { retryable: false } });
      // A repeat changes nothing.
      expect(["recorded", "stale"]).toContain((await node.outcome(id, body))["answer"]);
      expect(await outside.get(id)).toEqual(record);
    }
    await node.leave();
  });

  test("progress nested too deep, or too large for the record, is dropped", async ({ outside }) => {
    const node = await outside.rawNode();
    const { attempt, epoch } = await node.task("p2");
    for (const progress of [nested(8_000), nested(20_000), `"${"x".repeat(1_500_000)}"`]) {
      const body = `{"attempt":${attempt},"progress":${progress}}`;
      outside.raw.publish("mesh.tasks.progress.raw1.p2", body);
      await sleep(1_200); // A sweep writes what was noted.
      await outside.unharmed();
    }
    expect(await outside.get("p2")).toMatchObject({ status: "running" });
    await node.outcome("p2", JSON.stringify({ attempt, epoch, ok: true }));
    await node.leave();
  });
});

describe("what a node writes itself", () => {
  test("a checkpoint over 512 KB is refused by the bucket", async ({ outside }) => {
    const save = (bytes: number) =>
      outside.ask(outside.raw, "$KV.mesh_checkpoints.raw1.t", Buffer.alloc(bytes));
    expect(await save(CHECKPOINT_MAX_BYTES)).toMatchObject({ stream: "KV_mesh_checkpoints" });
    expect((await save(CHECKPOINT_MAX_BYTES + 2_048)).error).toMatchObject({ err_code: 10054 });
  });

  test("a lease of another life, or one that is none, does not make it live", async ({
    outside,
  }) => {
    const body = JSON.stringify(RAW_REGISTRATION);
    const { incarnation } = await outside.ask(outside.raw, REGISTER, body);
    const lease = { running: 0, slots: 8, rttMs: 1, lagMs: 0 };
    const life = Number(incarnation);
    const bad = [{ ...lease, incarnation: life + 1_000 }, { ...lease, incarnation: 1 }, {}, 7];
    for (const value of bad) {
      await outside.ask(outside.raw, "$KV.mesh_leases.node.raw1", JSON.stringify(value), {
        "Nats-TTL": "2s",
      });
      await sleep(100);
      expect(await stateOf(outside, "raw1")).toBe("JOINING");
    }
    expect(
      await outside.ask(outside.raw, "$KV.mesh_leases.node.raw1", Buffer.alloc(20_000)),
    ).toMatchObject({ error: { err_code: 10054 } });
    await outside.ask(
      outside.raw,
      "mesh.registry.deregister.raw1",
      JSON.stringify({ incarnation }),
    );
  });
});

describe("what a node is told", () => {
  const told: [string, HeaderList][] = [
    ["nothing", {}],
    ["no id", { "Mesh-Attempt": "1", "Mesh-Epoch": "1", "Mesh-Incarnation": "1" }],
    ["a bad id", { "Mesh-Task-Id": "a b", "Mesh-Attempt": "1" }],
    ["a bad try", { "Mesh-Task-Id": "x", "Mesh-Attempt": "0" }],
    ["a bad epoch", { "Mesh-Task-Id": "x", "Mesh-Attempt": "1", "Mesh-Epoch": "1e9" }],
    [
      "a bad life",
      { "Mesh-Task-Id": "x", "Mesh-Attempt": "1", "Mesh-Epoch": "1", "Mesh-Incarnation": "-1" },
    ],
    [
      "no capability",
      { "Mesh-Task-Id": "x", "Mesh-Attempt": "1", "Mesh-Epoch": "1", "Mesh-Incarnation": "1" },
    ],
  ];
  test.for(told)("a task whose headers say %s is refused", async ([, list], { outside }) => {
    const answer = await outside.ask(outside.admin, "mesh.node.n1.task", PUB_ACK, list);
    expect(answer.error).toMatchObject({
      code: "bad_request",
      message: expect.stringMatching(/Mesh-|headers/),
    });
  });

  test("a task of another life is stale", async ({ outside }) => {
    const list = {
      "Mesh-Task-Id": "x",
      "Mesh-Attempt": "1",
      "Mesh-Epoch": "1",
      "Mesh-Incarnation": "999999",
      "Mesh-Capability": "echo",
    };
    const answer = await outside.ask(outside.admin, "mesh.node.n1.task", "{}", list);
    expect(answer.error).toMatchObject({ code: "stale" });
  });

  test.for(["drain", "cancel"])(
    "an answer of the server is no order to %s",
    async (verb, { outside }) => {
      for (const body of [PUB_ACK, "{", "7", '{"deadlineMs":-1}', '{"taskId":"x"}']) {
        const answer = await outside.ask(outside.admin, `mesh.node.n1.${verb}`, body);
        expect(answer.error).toMatchObject({ code: "bad_request" });
      }
      expect(await stateOf(outside, "n1")).toBe("ACTIVE");
    },
  );

  test("what a node does not answer is a bad request; a ping may say anything", async ({
    outside,
  }) => {
    expect((await outside.ask(outside.admin, "mesh.node.n1.explode", "{}")).error).toMatchObject({
      code: "bad_request",
    });
    expect(await outside.ask(outside.admin, "mesh.node.n1.ping", "{")).toMatchObject({
      running: 0,
    });
  });
});

async function stateOf(outside: Outside, id: string): Promise<unknown> {
  const { nodes } = await outside.ask(outside.viewer, "mesh.registry.list");
  return (nodes as Answer[]).find((node) => node["id"] === id)?.["state"];
}

function names(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `c${index}`);
}

function nested(depth: number): string {
  return "[".repeat(depth) + "]".repeat(depth);
}
