/**
 * What the server refuses, whatever a program tries. Each row is a thing that somebody who holds
 * one node's (or one client's) seed could do to the others, were it not for nats-server.conf.
 */
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { createUser } from "@nats-io/nkeys";
import { connect, type Msg, nkeyAuthenticator } from "nats";
import { beforeAll, describe, expect, test } from "vitest";
import { refusals, startMesh, type TestMesh } from "./mesh.ts";

let mesh: TestMesh;

beforeAll(async () => {
  mesh = await startMesh(["n1", "n2"]);
  const coordinator = await mesh.as("coordinator");
  const jsm = await jetstreamManager(coordinator);
  await jsm.streams.add({
    name: "MESH_TASKS",
    subjects: ["mesh.tasks.submit.>", "mesh.tasks.retry.>", "mesh.tasks.delayed.>"],
    retention: "workqueue",
    allow_msg_ttl: true,
    allow_msg_schedules: true,
  });
  const kvm = new Kvm(jetstream(coordinator));
  for (const bucket of ["mesh_nodes", "mesh_leases", "mesh_tasks", "mesh_checkpoints"]) {
    await kvm.create(bucket, { markerTTL: 60_000 });
  }
});

const OF_ANOTHER_NODE = [
  "mesh.registry.register.n2",
  "mesh.registry.deregister.n2",
  "mesh.coordinator.sync.n2",
  "mesh.tasks.outcome.n2.t1",
  "mesh.tasks.outcomes.n2",
  "mesh.tasks.progress.n2.t1",
  "$KV.mesh_leases.node.n2",
  "$KV.mesh_checkpoints.n2.t1",
  "mesh.node.n2.task",
  "mesh.node.n2.tasks",
  "mesh.node.n2.ping",
  "_INBOX_n2.x",
];
const OF_THE_CONTROL_PLANE = [
  "$KV.mesh_nodes.n1",
  "$KV.mesh_tasks.t1",
  "$KV.mesh_leases.leader.coordinator",
  "$KV.mesh_settings.node.n1",
  "mesh.registry.list",
  "mesh.coordinator.held.n1",
  "mesh.coordinator.move.t1",
  "mesh.tasks.retry.wordcount",
  "mesh.tasks.delayed.t1",
  "mesh.tasks.cancel.t1",
  "mesh.tasks.state.t1",
  "mesh.events.node.n2.failed",
  "mesh.dead.t1",
  "_INBOX_coordinator.x",
  "_R_.x",
  "$SRV.PING",
  "$SYS.ACCOUNT.NODES.DISCONNECT",
  "$SYS.REQ.SERVER.PING",
  "$JS.API.INFO",
  "$JS.API.STREAM.INFO.KV_mesh_nodes",
  "$JS.API.STREAM.DELETE.KV_mesh_nodes",
  "$JS.API.STREAM.MSG.GET.KV_mesh_tasks",
  "$JS.API.DIRECT.GET.KV_mesh_tasks.$KV.mesh_tasks.t1",
  "$JS.API.CONSUMER.CREATE.KV_mesh_nodes",
  "$JS.API.CONSUMER.MSG.NEXT.MESH_TASKS.any",
  "$JS.ACK.MESH_TASKS.any.1.1.1.1.0",
];

describe("a node", () => {
  test.each([...OF_ANOTHER_NODE, ...OF_THE_CONTROL_PLANE])("cannot publish %s", async (subject) => {
    const n1 = await mesh.as("n1");

    expect(await refusals(n1, () => n1.publish(subject, "{}"))).toEqual([`publish ${subject}`]);
    await expect(n1.request(subject, "{}")).rejects.toThrow(/Permissions Violation/);
  });

  test.each([
    "$KV.mesh_nodes.n2",
    "$KV.mesh_tasks.t1",
    "$KV.mesh_leases.node.n2",
    "$KV.mesh_leases.leader.coordinator",
    "$KV.mesh_checkpoints.n2.t1",
    "mesh.registry.register.n2",
    "mesh.tasks.submit.wordcount",
    "mesh.tasks.outcome.n2.t1",
    "mesh.events.node.n2.failed",
    "$SYS.ACCOUNT.NODES.DISCONNECT",
    "_INBOX_coordinator.x",
  ])("cannot have an answer written to %s", async (reply) => {
    const admin = await mesh.as("admin");
    const heard: Msg[] = [];
    const ear = admin.subscribe(reply, { callback: (_, message) => void heard.push(message) });
    await admin.flush();
    const before = await lastSequences(mesh);

    await askWithReply(mesh, reply);

    expect(heard).toEqual([]);
    const after = await lastSequences(mesh);
    for (const stream of ["MESH_TASKS", "KV_mesh_nodes", "KV_mesh_tasks"]) {
      expect(after[stream]).toBe(before[stream]);
    }
    const leases = await new Kvm(jetstream(admin)).open("mesh_leases");
    expect(await leases.get("node.n2")).toBeNull();
    expect(await leases.get("leader.coordinator")).toBeNull();
    ear.unsubscribe();
  });

  test("answers a request once, and nothing that it was not asked", async () => {
    const [n1, admin] = [await mesh.as("n1"), await mesh.as("admin")];
    const answered = refusals(n1, async () => {
      const asked = n1.subscribe("mesh.node.n1.ping", {
        max: 1,
        callback: (_, message) => {
          message.respond("first");
          message.respond("second");
        },
      });
      await n1.flush();
      expect((await admin.request("mesh.node.n1.ping")).string()).toBe("first");
      asked.unsubscribe();
    });

    expect(await answered).toEqual([expect.stringMatching(/^publish _R_\./)]);
  });

  // Nodes refuse what has no headers of the mesh: that is what makes this harmless.
  test("can at worst show another node an answer, without any headers", async () => {
    const n2 = await mesh.as("n2");
    const heard: Msg[] = [];
    const ear = n2.subscribe("mesh.node.n2.task", {
      callback: (_, message) => void heard.push(message),
    });
    await n2.flush();

    await askWithReply(mesh, "mesh.node.n2.task");
    await n2.flush();

    expect(heard.map(({ headers }) => headers)).toEqual([undefined, undefined, undefined]);
    ear.unsubscribe();
  });
});

describe("a node, to hear others,", () => {
  test.each([
    "mesh.node.n2.>",
    "mesh.node.*.task",
    "_INBOX_n2.>",
    "_INBOX.>",
    "mesh.tasks.outcome.>",
    "mesh.tasks.outcomes.*",
    "mesh.tasks.submit.>",
    "mesh.tasks.state.>",
    "mesh.registry.register.*",
    "$KV.>",
    "$SYS.>",
    "$SYS.ACCOUNT.NODES.DISCONNECT",
    ">",
  ])("cannot subscribe %s", async (subject) => {
    const n1 = await mesh.as("n1");
    const ignore = (): void => undefined;

    expect(await refusals(n1, () => n1.subscribe(subject, { callback: ignore }))).toEqual([
      `subscription ${subject}`,
    ]);
  });
});

describe("a client", () => {
  test.each([
    ...OF_ANOTHER_NODE,
    ...OF_THE_CONTROL_PLANE.filter(
      (subject) => !["mesh.registry.list", "mesh.tasks.cancel.t1"].includes(subject),
    ),
  ])("cannot publish %s", async (subject) => {
    const client = await mesh.as("client");

    expect(await refusals(client, () => client.publish(subject, "{}"))).toEqual([
      `publish ${subject}`,
    ]);
  });

  test.each(["mesh.tasks.submit.>", "mesh.node.>", "_INBOX.>", "_INBOX_n1.>", "$KV.>", ">"])(
    "cannot subscribe %s",
    async (subject) => {
      const client = await mesh.as("client");
      const ignore = (): void => undefined;

      expect(await refusals(client, () => client.subscribe(subject, { callback: ignore }))).toEqual(
        [`subscription ${subject}`],
      );
    },
  );
});

describe("a viewer", () => {
  test.each([
    "$KV.mesh_nodes.n1",
    "$KV.mesh_tasks.t1",
    "$KV.mesh_settings.capability.upper",
    "mesh.tasks.submit.wordcount",
    "mesh.tasks.cancel.t1",
    "mesh.node.n1.task",
    "mesh.events.node.n1.failed",
    "$JS.API.STREAM.CREATE.OTHER",
    "$JS.API.STREAM.DELETE.KV_mesh_nodes",
    "$JS.API.STREAM.PURGE.KV_mesh_nodes",
    "$JS.API.STREAM.MSG.DELETE.KV_mesh_nodes",
    "$JS.API.STREAM.MSG.GET.MESH_TASKS",
    "$JS.API.STREAM.MSG.GET.KV_mesh_checkpoints",
    "$JS.API.CONSUMER.CREATE.MESH_TASKS.x",
    "$JS.API.CONSUMER.CREATE.MESH_EVENTS.migrator.mesh.events.>",
    "$JS.API.CONSUMER.DELETE.MESH_EVENTS.migrator",
    "$JS.API.CONSUMER.MSG.NEXT.MESH_EVENTS.migrator",
    "$SYS.ACCOUNT.NODES.DISCONNECT",
  ])("cannot publish %s", async (subject) => {
    const viewer = await mesh.as("viewer");

    expect(await refusals(viewer, () => viewer.publish(subject, "{}"))).toEqual([
      `publish ${subject}`,
    ]);
  });
});

describe("an admin", () => {
  test.each([
    "mesh.tasks.outcome.n1.t1",
    "mesh.tasks.outcomes.n1",
    "mesh.tasks.progress.n1.t1",
    "$SYS.ACCOUNT.NODES.DISCONNECT",
  ])("cannot publish %s, which only a node or the server says", async (subject) => {
    const admin = await mesh.as("admin");

    expect(await refusals(admin, () => admin.publish(subject, "{}"))).toEqual([
      `publish ${subject}`,
    ]);
  });
});

describe("a service", () => {
  test.each([
    ["registry", "$KV.mesh_tasks.t1"],
    ["registry", "$KV.mesh_leases.node.n1"],
    ["registry", "mesh.node.n1.task"],
    ["health-monitor", "$KV.mesh_tasks.t1"],
    ["health-monitor", "$KV.mesh_leases.node.n1"],
    ["health-monitor", "mesh.node.n1.task"],
    ["migrator", "$KV.mesh_tasks.t1"],
    ["migrator", "$KV.mesh_nodes.n1"],
    ["migrator", "mesh.node.n1.task"],
    ["coordinator", "$KV.mesh_nodes.n1"],
    ["coordinator", "$KV.mesh_settings.capability.upper"],
    ["coordinator", "$KV.mesh_leases.node.n1"],
    ["coordinator", "$KV.mesh_leases.leader.other"],
    ["coordinator", "mesh.tasks.outcome.n1.t1"],
    ["coordinator", "mesh.tasks.outcomes.n1"],
    ["coordinator", "$JS.API.STREAM.DELETE.MESH_TASKS"],
    ["coordinator", "$JS.API.STREAM.PURGE.MESH_TASKS"],
    ["coordinator", "$JS.API.STREAM.CREATE.OTHER"],
    ["coordinator", "$SYS.ACCOUNT.NODES.DISCONNECT"],
  ])("%s cannot publish %s", async (service, subject) => {
    const nc = await mesh.as(service);

    expect(await refusals(nc, () => nc.publish(subject, "{}"))).toEqual([`publish ${subject}`]);
  });
});

describe("a connection", () => {
  // The server waits 5 s for an authenticator, of whom there is none here: three at a time.
  test.concurrent("without a key is refused", async () => {
    await expect(connect({ servers: mesh.url, reconnect: false })).rejects.toThrow(
      /Authorization Violation/,
    );
  });

  test.concurrent("with a user name and password is refused", async () => {
    const credentials = { user: "admin", pass: "admin" };

    await expect(connect({ servers: mesh.url, reconnect: false, ...credentials })).rejects.toThrow(
      /Authorization Violation/,
    );
  });

  test.concurrent("with a key nobody gave it is refused", async () => {
    const stranger = nkeyAuthenticator(createUser().getSeed());

    await expect(
      connect({ servers: mesh.url, reconnect: false, authenticator: stranger }),
    ).rejects.toThrow(/Authorization Violation/);
  });

  test("gets no more by another name or inbox than its key has", async () => {
    const impostor = await mesh.connectAs("n2", "n1");

    expect(
      await refusals(impostor, () => impostor.publish("mesh.registry.register.n2", "{}")),
    ).toEqual(["publish mesh.registry.register.n2"]);
    await impostor.close();
  });
});

/** n1 asks everything that it may ask, naming `reply`, of the server and of a service that echoes. */
async function askWithReply(mesh: TestMesh, reply: string): Promise<void> {
  const [n1, coordinator] = [await mesh.as("n1"), await mesh.as("coordinator")];
  const echo = coordinator.subscribe("mesh.coordinator.sync.*", {
    callback: (_, message) => void message.respond(message.data),
  });
  await coordinator.flush();

  const asked = [
    "$KV.mesh_leases.node.n1",
    "$KV.mesh_checkpoints.n1.t1",
    "mesh.coordinator.sync.n1",
  ];
  for (const subject of asked) n1.publish(subject, "chosen", { reply });
  // Answers come in order: once these are here, the others have gone wherever they go.
  for (const subject of asked) await n1.request(subject, "chosen");

  echo.unsubscribe();
  for (const nc of [coordinator, await mesh.as("admin")]) await nc.flush();
}

/** The last sequence of each stream, by its name. */
async function lastSequences(mesh: TestMesh): Promise<Record<string, number>> {
  const jsm = await jetstreamManager(await mesh.as("admin"));
  const streams = await jsm.streams.list().next();
  return Object.fromEntries(streams.map(({ config, state }) => [config.name, state.last_seq]));
}
