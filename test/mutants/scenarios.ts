/** What happens in a mesh: short, the same for every mutant, and clean when nothing is mutated. */
import { setTimeout as sleep } from "node:timers/promises";
import { Header } from "@swarm-mesh/protocol";
import type { MeshOptions } from "@swarm-mesh/testkit";
import type { Scene } from "./scene.ts";

interface Scenario {
  readonly title: string;
  readonly options: MeshOptions;
  readonly play: (scene: Scene) => Promise<void>;
}

export type ScenarioName =
  | "steady"
  | "nodes-killed"
  | "leader-killed"
  | "node-frozen"
  | "leader-frozen"
  | "server-killed";

/** Leases as short as the server allows within reason, for those who are frozen. */
const SHORT_LEASES = {
  MESH_LEASE_TTL_MS: "2000",
  MESH_LEADER_LEASE_TTL_MS: "2000",
  MESH_DEGRADED_AFTER_MS: "1500",
  MESH_ABSTAIN_MS: "500",
};
const SOON = { [Header.backoff]: "fixed:100ms" };

/** What is not ended with the lease of its node goes on, and ends within this. */
const GOES_ON_MS = 3_000;

const on = (node: string): Record<string, string> => ({ [Header.prefer]: node });
const times = (count: number): number[] => [...Array(count).keys()];

export const SCENARIOS: Readonly<Record<ScenarioName, Scenario>> = {
  steady: {
    title:
      "tasks succeed, fail, are retried, refused and cancelled; nodes claim what is not theirs",
    options: { nodes: 2, slots: 4 },
    play: playSteady,
  },
  "nodes-killed": {
    title: "one node is killed and comes back, then the other is killed",
    options: { nodes: 2, slots: 4 },
    play: playNodesKilled,
  },
  "leader-killed": {
    title: "the leader is killed under load",
    options: { nodes: 2, slots: 4 },
    play: playLeaderKilled,
  },
  "node-frozen": {
    title: "a node is frozen until its lease is gone, and wakes up",
    options: { nodes: 2, slots: 4, env: SHORT_LEASES },
    play: playNodeFrozen,
  },
  "leader-frozen": {
    title: "the leader is frozen until another leads, and wakes up",
    options: { nodes: 2, slots: 4, replicas: 2, env: SHORT_LEASES },
    play: playLeaderFrozen,
  },
  "server-killed": {
    title: "nats-server is frozen and killed while a client submits",
    options: { nodes: 1, slots: 4 },
    play: playServerKilled,
  },
};

async function playSteady(scene: Scene): Promise<void> {
  // Every slot is taken, so that what comes next has to wait in the stream.
  for (const index of times(8)) await scene.submit(`full${index}`, { gate: "full", ms: 50 });
  await scene.until("every slot is taken", () =>
    times(8).every((index) => scene.saw("started", `full${index}`)),
  );
  const waits = times(4).map((index) => `waits${index}`);
  for (const task of waits) await scene.submit(task, { steps: 1 });
  await Promise.all(waits.map((task) => scene.cancel(task)));
  scene.open("full");
  await scene.submit("retried", { fail: [1] }, SOON);
  await scene.submit("spent", { fail: [1, 2, 3, 4] }, { ...SOON, [Header.maxAttempts]: "3" });
  await scene.submit("given-up", { fail: [1], final: true });
  await scene.submit("refused", {}, { [Header.timeout]: "soon" });
  await scene.submit("full0", {});
  // Another task by the id that the mesh has given to one before.
  const unnamed = await scene.submitUnnamed({ steps: 1 });
  await scene.until("it is over", () => scene.record(unnamed)?.status === "succeeded");
  await scene.submit(unnamed, {}, { [Header.timeout]: "soon" });

  await scene.submit("cancelled", { steps: 90, ms: 50 });
  await scene.submit("claimed1", { steps: 60, ms: 30 });
  await scene.submit("claimed2", { steps: 60, ms: 30 });
  const running = ["cancelled", "claimed1", "claimed2"];
  await scene.until("they run", () => running.every((task) => scene.saw("started", task)));
  await scene.cancel("cancelled");
  await scene.claim(scene.record("claimed1")?.node ?? "n1", "claimed1", 2);
  await scene.claim(scene.record("claimed2")?.node === "n1" ? "n2" : "n1", "claimed2", 1);
  await scene.until("the cancelled one has stopped", () => scene.saw("ended", "cancelled"));
  await scene.settle();
}

async function playNodesKilled(scene: Scene): Promise<void> {
  const tasks = ["moved0", "moved1", "moved2"];
  for (const task of tasks) await scene.submit(task, { gate: "moves", ms: 40 }, on("n1"));
  await untilSaved(scene, "n1", tasks, 3);
  const life = scene.record("moved1")?.incarnation ?? 0;
  scene.harm("n1", "kill");
  await scene.until("all run on n2", () => tasks.every((task) => scene.saw("started", task, 2)));
  await scene.move("moved0", "n1", 1);
  await scene.mesh.startNode("n1").catch(() => scene.missed.push("n1 is back"));
  await scene.until("n1 is back", () => scene.nodes.get("n1")?.state === "ACTIVE");
  // An order for the life before, by a leader that leads.
  const { epoch } = await scene.leader();
  await scene.dispatch("n1", { task: "moved1", attempt: 1, epoch, incarnation: life });
  const at = await scene.saved("n1", "moved2");
  await untilSaved(scene, "n2", tasks, at + 3);
  scene.harm("n2", "kill");
  await scene.until("all run on n1", () => tasks.every((task) => scene.saw("started", task, 3)));
  scene.open("moves");
  await scene.settle();
}

async function playLeaderKilled(scene: Scene): Promise<void> {
  const { pid, epoch } = await scene.leader();
  await scene.submit("long1", { gate: "leads", ms: 40 }, on("n1"));
  await scene.submit("long2", { gate: "leads", ms: 40 }, on("n2"));
  let [going, serial] = [true, 0];
  const load = (async () => {
    while (going) {
      void scene.submit(`load${serial++}`, { steps: 2, ms: 20 });
      await sleep(25);
    }
  })();
  await scene.until("tasks flow", () => scene.saw("ended", "load10"));
  scene.harm("coordinator", "kill", pid);
  scene.mesh.startService("coordinator");
  const later = () => scene.records.filter((record) => record.epoch > epoch);
  await scene.until("n1 hears the next leader", () =>
    later().some(({ id, node, attempt }) => node === "n1" && scene.saw("ended", id, attempt)),
  );
  going = false;
  await load;
  // Whoever is full obeys nobody.
  await scene.until("n1 has room", () =>
    times(serial).every((index) => scene.record(`load${index}`)?.status === "succeeded"),
  );
  // An order of the leader before, for a task that nobody knows.
  const incarnation = scene.nodes.get("n1")?.incarnation ?? scene.record("long1")?.incarnation ?? 0;
  await scene.dispatch("n1", { task: "unheard-of", attempt: 1, epoch, incarnation });
  scene.open("leads");
  await scene.settle();
}

async function playNodeFrozen(scene: Scene): Promise<void> {
  const tasks = ["frozen0", "frozen1"];
  for (const task of tasks) await scene.submit(task, { gate: "thaw", ms: 50 }, on("n1"));
  await untilSaved(scene, "n1", tasks, 3);
  const life = scene.record("frozen0")?.incarnation ?? 0;
  scene.harm("n1", "freeze");
  await scene.until("all run on n2", () => tasks.every((task) => scene.saw("started", task, 2)));
  scene.thaw("n1");
  await scene.until("n1 has joined as a new life", () => {
    const node = scene.nodes.get("n1");
    return node?.state === "ACTIVE" && node.incarnation > life;
  });
  // What was frozen has stopped by now; if not, it comes to its end with the others, and too late.
  await sleep(1_200);
  scene.open("thaw");
  // A thread that is ended with its lease may not come to say so; one that goes on does.
  await scene.for(GOES_ON_MS, () => tasks.every((task) => scene.saw("ended", task, 1)));
  await scene.settle();
}

async function playLeaderFrozen(scene: Scene): Promise<void> {
  await scene.submit("before", { steps: 1 });
  await scene.until("tasks flow", () => scene.saw("ended", "before"));
  const { pid, epoch } = await scene.leader();
  scene.harm("coordinator", "freeze", pid);
  // Every slot is taken, so that what comes next has to wait in the stream.
  const tasks = times(8).map((index) => `meanwhile${index}`);
  for (const task of tasks) await scene.submit(task, { gate: "thaw", ms: 50 });
  await scene.until("another leads", () =>
    tasks.every((task) => (scene.record(task)?.epoch ?? 0) > epoch && scene.saw("started", task)),
  );
  const waits = times(12).map((index) => `waits${index}`);
  for (const task of waits) await scene.submit(task, { steps: 1 });
  scene.thaw("coordinator", pid);
  // Time to see that it leads no more. If it does not, each of these is cancelled by both.
  await sleep(500);
  await Promise.all(waits.map((task) => scene.cancel(task)));
  scene.open("thaw");
  await scene.settle();
}

async function playServerKilled(scene: Scene): Promise<void> {
  await scene.startSubmitter();
  scene.submitThere("before");
  await scene.until("tasks flow", () => scene.saw("ended", "before"));
  scene.harm("nats-server", "freeze");
  scene.submitThere("unheard");
  // What it writes is in the frozen server's hands, and dies with it.
  await sleep(300);
  scene.harm("nats-server", "kill");
  scene.mesh.startServer();
  scene.thaw("nats-server");
  await scene.until("it is acknowledged", () => scene.acknowledgedThere("unheard"));
  scene.submitThere("after");
  await scene.until("tasks flow again", () => scene.saw("ended", "after"));
  await scene.settle();
}

/** Waits until each task has saved so much on this node. */
async function untilSaved(
  scene: Scene,
  node: string,
  tasks: readonly string[],
  least: number,
): Promise<void> {
  await scene.until(`all have saved ${least} on ${node}`, async () => {
    const saved = await Promise.all(tasks.map((task) => scene.saved(node, task)));
    return saved.every((value) => value >= least);
  });
}
