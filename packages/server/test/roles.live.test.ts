/** That each user can do its work: the other half of identity.test.ts. */
import { AckPolicy, jetstream, jetstreamManager, RetentionPolicy } from "@nats-io/jetstream";
import { type KV, Kvm, type KvOptions } from "@nats-io/kv";
import type { NatsConnection } from "nats";
import { beforeAll, describe, expect, test } from "vitest";
import { refusals, startMesh, type TestMesh } from "./mesh.ts";

const BUCKETS = ["mesh_nodes", "mesh_leases", "mesh_tasks", "mesh_checkpoints", "mesh_settings"];
const SERVICES = ["registry", "coordinator", "health-monitor", "migrator"];

let mesh: TestMesh;

beforeAll(async () => {
  mesh = await startMesh(["n1", "n2"]);
  await createStores(await mesh.as("migrator"));
});

describe("every service", () => {
  test.each(SERVICES)("%s can find all streams and buckets in place", async (service) => {
    const nc = await mesh.as(service);

    expect(await refusals(nc, () => createStores(nc))).toEqual([]);
  });

  test.each(SERVICES)("%s can read and watch nodes and leases", async (service) => {
    const nc = await mesh.as(service);

    const refused = await refusals(nc, async () => {
      for (const bucket of ["mesh_nodes", "mesh_leases"])
        await readAndWatch(await open(nc, bucket));
    });

    expect(refused).toEqual([]);
  });

  test.each(SERVICES)("%s answers service discovery, whoever asks", async (service) => {
    const nc = await mesh.as(service);
    const subscription = nc.subscribe(`$SRV.PING.${service}`, {
      callback: (_, message) => void message.respond("here"),
    });
    await nc.flush();

    for (const asking of ["admin", "viewer"]) {
      const answer = await (await mesh.as(asking)).request(`$SRV.PING.${service}`);
      expect(answer.string()).toBe("here");
    }
    subscription.unsubscribe();
  });

  test.each(["registry", "coordinator", "health-monitor"])(
    "%s hears at once that a node's connection is gone",
    async (service) => {
      const nc = await mesh.as(service);
      const events = nc.subscribe("$SYS.ACCOUNT.NODES.DISCONNECT", { max: 1 });
      await nc.flush();

      await (await mesh.connectAs("n2")).close();

      for await (const event of events) {
        expect(event.json()).toMatchObject({ client: { name: "n2", acc: "NODES" } });
      }
    },
  );
});

describe("a node", () => {
  test("takes and renews its lease, with a TTL and by compare-and-swap", async () => {
    const js = jetstream(await mesh.as("n1"));
    const lease = "$KV.mesh_leases.node.n1";

    const taken = await js.publish(lease, "{}", {
      ttl: "5s",
      expect: { lastSubjectSequence: 0 },
    });
    const renewed = await js.publish(lease, "{}", {
      ttl: "5s",
      expect: { lastSubjectSequence: taken.seq },
    });

    expect(renewed.seq).toBeGreaterThan(taken.seq);
    const stored = await (await open(await mesh.as("health-monitor"), "mesh_leases")).get(
      "node.n1",
    );
    expect(stored?.revision).toBe(renewed.seq);
    await expect(
      js.publish(lease, "{}", { ttl: "5s", expect: { lastSubjectSequence: taken.seq } }),
    ).rejects.toThrow(/wrong last sequence/);
  });

  test("saves a checkpoint, which coordinator and migrator can read", async () => {
    await jetstream(await mesh.as("n1")).publish("$KV.mesh_checkpoints.n1.t1", "state");

    for (const service of ["coordinator", "migrator"]) {
      const kv = await open(await mesh.as(service), "mesh_checkpoints");
      expect((await kv.get("n1.t1"))?.string()).toBe("state");
    }
  });

  test.each([
    ["registry", "mesh.registry.register.*", "mesh.registry.register.n1"],
    ["registry", "mesh.registry.deregister.*", "mesh.registry.deregister.n1"],
    ["coordinator", "mesh.coordinator.sync.*", "mesh.coordinator.sync.n1"],
    ["coordinator", "mesh.tasks.outcome.*.*", "mesh.tasks.outcome.n1.t1"],
    ["coordinator", "mesh.tasks.outcomes.*", "mesh.tasks.outcomes.n1"],
    ["coordinator", "mesh.tasks.progress.*.*", "mesh.tasks.progress.n1.t1"],
  ])("is answered by %s on %s", async (service, subscribed, asked) => {
    await expectAnswer(await mesh.as(service), subscribed, await mesh.as("n1"), asked);
  });

  test.each([
    ["coordinator", "task"],
    ["coordinator", "tasks"],
    ["coordinator", "cancel"],
    ["coordinator", "ping"],
    ["registry", "ping"],
    ["health-monitor", "ping"],
    ["migrator", "ping"],
    ["admin", "drain"],
  ])("answers the %s's %s", async (asking, verb) => {
    const subject = `mesh.node.n1.${verb}`;
    await expectAnswer(await mesh.as("n1"), subject, await mesh.as(asking), subject);
  });

  test("that is gone is known to be gone without waiting", async () => {
    const monitor = await mesh.as("health-monitor");

    await expect(monitor.request("mesh.node.n2.ping", "", { timeout: 60_000 })).rejects.toThrow(
      /no responders/,
    );
  });

  test("can submit a task and knows that it is stored", async () => {
    const ack = await jetstream(await mesh.as("n1")).publish("mesh.tasks.submit.child", "{}");

    expect(ack.stream).toBe("MESH_TASKS");
  });
});

describe("a client", () => {
  test("submits a task once, whatever the repeats", async () => {
    const js = jetstream(await mesh.as("client"));

    const first = await js.publish("mesh.tasks.submit.wordcount.high", "{}", { msgID: "t1" });
    const second = await js.publish("mesh.tasks.submit.wordcount.high", "{}", { msgID: "t1" });

    expect(first).toMatchObject({ stream: "MESH_TASKS", duplicate: false });
    expect(second).toMatchObject({ seq: first.seq, duplicate: true });
  });

  test.each([
    ["coordinator", "mesh.tasks.get.*", "mesh.tasks.get.t1"],
    ["coordinator", "mesh.tasks.cancel.*", "mesh.tasks.cancel.t1"],
    ["coordinator", "mesh.tasks.list", "mesh.tasks.list"],
    ["registry", "mesh.registry.list", "mesh.registry.list"],
    ["registry", "mesh.registry.find", "mesh.registry.find"],
  ])("is answered by %s on %s", async (service, subscribed, asked) => {
    await expectAnswer(await mesh.as(service), subscribed, await mesh.as("client"), asked);
  });

  test("follows the records of tasks", async () => {
    const client = await mesh.as("client");
    const states = client.subscribe("mesh.tasks.state.t9", { max: 1 });
    await client.flush();

    await (await open(await mesh.as("coordinator"), "mesh_tasks")).put("t9", "running");

    for await (const state of states) expect(state.string()).toBe("running");
  });
});

describe("the coordinator", () => {
  test("pulls, holds and acknowledges tasks, and takes over what another held", async () => {
    const nc = await mesh.as("coordinator");
    const [js, jsm] = [jetstream(nc), await jetstreamManager(nc)];

    const refused = await refusals(nc, async () => {
      await js.publish("mesh.tasks.submit.pulled", "body");
      await jsm.consumers.add("MESH_TASKS", {
        durable_name: "pulled",
        ack_policy: AckPolicy.Explicit,
        filter_subject: "mesh.tasks.submit.pulled",
      });
      const consumer = await js.consumers.get("MESH_TASKS", "pulled");
      expect((await consumer.next())?.string()).toBe("body");
      await jsm.consumers.reset("MESH_TASKS", "pulled");
      const again = await consumer.next();
      again?.working();
      expect(await again?.ackAck()).toBe(true);
      expect(await jsm.consumers.list("MESH_TASKS").next()).toHaveLength(1);
      await jsm.consumers.delete("MESH_TASKS", "pulled");
    });

    expect(refused).toEqual([]);
  });

  test("takes a waiting task out of the queue", async () => {
    const nc = await mesh.as("coordinator");
    const [js, jsm] = [jetstream(nc), await jetstreamManager(nc)];
    const { seq } = await js.publish("mesh.tasks.submit.removed", "body");

    const waiting = await jsm.streams.getMessage("MESH_TASKS", { seq });
    expect(waiting?.subject).toBe("mesh.tasks.submit.removed");
    expect(await jsm.streams.deleteMessage("MESH_TASKS", seq)).toBe(true);
  });

  test("delays, repeats and gives up tasks, and tells of it", async () => {
    const nc = await mesh.as("coordinator");
    const js = jetstream(nc);

    const refused = await refusals(nc, async () => {
      await js.publish("mesh.tasks.delayed.t1", "{}", {
        schedule: { specification: new Date(), target: "mesh.tasks.retry.wordcount" },
      });
      await js.publish("mesh.tasks.retry.wordcount", "{}");
      await js.publish("mesh.dead.t1", "{}");
      await js.publish("mesh.events.leader.coordinator", "{}");
    });

    expect(refused).toEqual([]);
  });

  test("reads and watches what an admin has set", async () => {
    await (await open(await mesh.as("admin"), "mesh_settings")).put("capability.upper", "{}");
    const nc = await mesh.as("coordinator");

    const refused = await refusals(nc, async () => {
      await readAndWatch(await open(nc, "mesh_settings"));
    });

    expect(refused).toEqual([]);
  });

  test("writes records, and holds the leader's lease", async () => {
    const nc = await mesh.as("coordinator");

    const refused = await refusals(nc, async () => {
      const tasks = await open(nc, "mesh_tasks");
      await tasks.update("t1", "running", await tasks.create("t1", "running"));
      await readAndWatch(tasks);
      const leases = await open(nc, "mesh_leases");
      const epoch = await leases.create("leader.coordinator", "{}", "5s");
      await leases.purge("leader.coordinator", { previousSeq: epoch });
    });

    expect(refused).toEqual([]);
  });
});

describe("the other services", () => {
  test.each(["registry", "health-monitor"])(
    "%s writes node records and events",
    async (service) => {
      const nc = await mesh.as(service);
      const key = `of-${service}`;

      const refused = await refusals(nc, async () => {
        const nodes = await open(nc, "mesh_nodes");
        await nodes.update(key, "FAILED", await nodes.create(key, "ACTIVE"));
        await nodes.purge(key, { ttl: "60s" });
        await jetstream(nc).publish(`mesh.events.node.${key}.failed`, "{}");
      });

      expect(refused).toEqual([]);
    },
  );

  test("migrator consumes events, asks the leader and tells of its moves", async () => {
    const nc = await mesh.as("migrator");
    const [js, jsm] = [jetstream(nc), await jetstreamManager(nc)];

    const refused = await refusals(nc, async () => {
      await js.publish("mesh.events.node.n7.failed", "moved");
      await jsm.consumers.add("MESH_EVENTS", {
        durable_name: "migrator",
        ack_policy: AckPolicy.Explicit,
        filter_subject: "mesh.events.node.n7.failed",
      });
      const consumer = await js.consumers.get("MESH_EVENTS", "migrator");
      const event = await consumer.next();
      expect(event?.string()).toBe("moved");
      expect(await event?.ackAck()).toBe(true);
      await readAndWatch(await open(nc, "mesh_tasks"));
    });

    expect(refused).toEqual([]);
    const coordinator = await mesh.as("coordinator");
    await expectAnswer(coordinator, "mesh.coordinator.held.*", nc, "mesh.coordinator.held.n1");
    await expectAnswer(coordinator, "mesh.coordinator.move.*", nc, "mesh.coordinator.move.t1");
  });
});

describe("a viewer", () => {
  test("lists, reads and watches records, leases and streams", async () => {
    const nc = await mesh.as("viewer");

    const refused = await refusals(nc, async () => {
      for (const bucket of ["mesh_nodes", "mesh_leases", "mesh_tasks", "mesh_settings"]) {
        await readAndWatch(await open(nc, bucket));
      }
      const jsm = await jetstreamManager(nc);
      expect(await jsm.streams.list().next()).toHaveLength(8);
      expect(await jsm.consumers.list("MESH_EVENTS").next()).toBeDefined();
      await jsm.streams.getMessage("MESH_EVENTS", { last_by_subj: "mesh.events.>" });
    });

    expect(refused).toEqual([]);
  });

  test("follows states and asks the services, with either inbox", async () => {
    const nc = await mesh.as("viewer");
    const coordinator = await mesh.as("coordinator");

    expect(
      await refusals(nc, () => {
        nc.subscribe("mesh.tasks.state.>", { max: 1 });
        nc.subscribe("mesh.nodes.state.>", { max: 1 });
        nc.subscribe("_INBOX.any.>", { max: 1 });
      }),
    ).toEqual([]);
    await expectAnswer(coordinator, "mesh.tasks.get.*", nc, "mesh.tasks.get.t1");
    await expectAnswer(coordinator, "mesh.tasks.list", nc, "mesh.tasks.list");
    await expectAnswer(await mesh.as("registry"), "mesh.registry.find", nc, "mesh.registry.find");
  });
});

/** Asks `asked` and expects the answer of one who subscribes `subscribed`. */
async function expectAnswer(
  answering: NatsConnection,
  subscribed: string,
  asking: NatsConnection,
  asked: string,
): Promise<void> {
  const subscription = answering.subscribe(subscribed, {
    callback: (_, message) => void message.respond(`heard ${message.subject}`),
  });
  await answering.flush();

  expect((await asking.request(asked, "{}")).string()).toBe(`heard ${asked}`);

  subscription.unsubscribe();
  await answering.flush();
}

/** What a service does first; a repeat finds everything in place. */
async function createStores(nc: NatsConnection): Promise<void> {
  const jsm = await jetstreamManager(nc);
  await jsm.streams.add({
    name: "MESH_TASKS",
    subjects: ["mesh.tasks.submit.>", "mesh.tasks.retry.>", "mesh.tasks.delayed.>"],
    retention: RetentionPolicy.Workqueue,
    allow_msg_ttl: true,
    allow_msg_schedules: true,
  });
  await jsm.streams.add({ name: "MESH_EVENTS", subjects: ["mesh.events.>"] });
  await jsm.streams.add({ name: "MESH_DEAD", subjects: ["mesh.dead.>"] });
  const kvm = new Kvm(jetstream(nc));
  for (const bucket of BUCKETS) await kvm.create(bucket, bucketOptions(bucket));
}

function bucketOptions(bucket: string): Partial<KvOptions> {
  const options = { markerTTL: 60_000, allow_direct: true };
  if (bucket !== "mesh_tasks") return options;
  return {
    ...options,
    republish: { src: "$KV.mesh_tasks.*", dest: "mesh.tasks.state.{{wildcard(1)}}" },
  };
}

async function open(nc: NatsConnection, bucket: string): Promise<KV> {
  return new Kvm(jetstream(nc)).open(bucket);
}

/** Every way to read a bucket: by key, by revision, all keys, status, and a watch. */
async function readAndWatch(kv: KV): Promise<void> {
  await kv.get("none");
  await kv.get("none", { revision: 1 }).catch(() => null);
  for await (const _ of await kv.keys()) break;
  await kv.status();
  const watch = await kv.watch();
  watch.stop();
}
