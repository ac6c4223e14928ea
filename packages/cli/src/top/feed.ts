/**
 * Sees what `swarmctl top` shows: nodes, leases and settings by watches, tasks and events as they come,
 * and, because nothing tells of them, the queues by a look every two seconds.
 */
import type { JetStreamManager } from "@nats-io/jetstream";
import { BucketView, watchLink } from "@swarm-mesh/bus";
import {
  type BucketSpec,
  decode,
  LEASES_BUCKET,
  LeaderLease,
  LIST_SUBJECT,
  leaderLeaseKey,
  MESH_DEAD,
  MESH_EVENTS,
  MESH_TASKS,
  NODES_BUCKET,
  NodeLease,
  NodeRecord,
  nodeLeaseKey,
  SETTINGS_BUCKET,
  TaskList,
  TaskRecord,
  taskStateSubject,
} from "@swarm-mesh/protocol";
import { silentLog, systemClock, ticks, together } from "@swarm-mesh/runtime";
import { z } from "zod";
import { followEvents, lastEvents, type StoredEvent } from "../events.ts";
import { oldestWaiting, type Queue, readQueues } from "../queues.ts";
import type { Session } from "../session.ts";
import { settingsOf } from "../settings.ts";
import { mayReadQueue } from "../why/queue.ts";
import { capabilityRows, type Look, nodeRows, type Picture, ratesOf } from "./picture.ts";

/** Between two looks at the queues, ms. */
const LOOK_MS = 2_000;
const SETTINGS_POLL_MS = 20;
/** Lanes whose first waiting task is looked for at each look. */
const OLDEST_MAX = 32;
/** Tasks and events that are remembered. */
const TASKS_MAX = 200;
const EVENTS_MAX = 200;
/** Changes of tasks in a second, beyond which they are left alone for a while, ms. */
const CHANGES_MAX = 2_000;
const LEFT_ALONE_MS = 10_000;
/** Running tasks of a paused capability that are counted. */
const RUNNING_MAX = 1_000;
const NO_LIST: TaskList = { tasks: [], complete: false };
const LEADING = leaderLeaseKey("coordinator");

/** Follows the mesh for `top`, and makes a picture of it whenever one is asked for. */
export class Feed {
  readonly #session: Session;
  readonly #manager: JetStreamManager;
  readonly #nodes: BucketView<NodeRecord>;
  readonly #leases: BucketView<unknown>;
  readonly #settings: BucketView<unknown>;
  /** The last records that came, by task, the newest last; read when they are shown. */
  readonly #tasks = new Map<string, Uint8Array>();
  #events: StoredEvent[] = [];
  #looks: { readonly before: Look | undefined; readonly now: Look | undefined } = {
    before: undefined,
    now: undefined,
  };
  #oldest: ReadonlyMap<string, number> = new Map();
  #lostAtMs: number | undefined;
  #mayReadQueue = true;
  #following = true;

  constructor(session: Session, manager: JetStreamManager) {
    this.#session = session;
    this.#manager = manager;
    this.#nodes = this.#view(NODES_BUCKET, (value) => decode(NodeRecord, value));
    this.#leases = this.#view<unknown>(LEASES_BUCKET, (value) => decode(z.unknown(), value));
    this.#settings = this.#view<unknown>(SETTINGS_BUCKET, (value) => decode(z.unknown(), value));
  }

  #view<T>(
    bucket: BucketSpec,
    read: (value: Uint8Array) => ReturnType<typeof decode<z.ZodType<T>>>,
  ) {
    const { nc } = this.#session;
    return new BucketView<T>({
      ...{ nc, manager: this.#manager, bucket, clock: systemClock, log: silentLog },
      decode: (_key, value) => read(value),
    });
  }

  /** Is there something of everything to show? */
  get complete(): boolean {
    const views = this.#nodes.current && this.#leases.current && this.#settings.current;
    return views && ratesOf(this.#looks.before, this.#looks.now ?? NO_LOOK) !== undefined;
  }

  /** Looks until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { nc } = this.#session;
    const { state } = await this.#manager.streams.info(MESH_EVENTS.name);
    this.#mayReadQueue = await mayReadQueue(this.#manager);
    this.#events = [...(await lastEvents(this.#manager, EVENTS_MAX))];
    await together(signal, [
      (inner) => this.#nodes.run(inner),
      (inner) => this.#leases.run(inner),
      (inner) => this.#settings.run(inner),
      (inner) => this.#look(inner),
      (inner) => this.#followTasks(inner),
      (inner) =>
        followEvents(this.#session, state.last_seq + 1, inner, (event) => this.#onEvent(event)),
      (inner) =>
        watchLink(
          nc,
          (up) => {
            this.#lostAtMs = up ? undefined : systemClock.elapsed();
          },
          inner,
        ),
    ]);
  }

  #onEvent(event: StoredEvent): void {
    this.#events.push(event);
    if (this.#events.length > EVENTS_MAX) this.#events.shift();
  }

  async #look(signal: AbortSignal): Promise<void> {
    // What is paused is counted otherwise; a mesh of an older version has no settings.
    const deadline = systemClock.elapsed() + LOOK_MS;
    while (!this.#settings.current && !signal.aborted && systemClock.elapsed() < deadline) {
      await systemClock.sleep(SETTINGS_POLL_MS, signal);
    }
    for await (const _ of ticks({ clock: systemClock, everyMs: LOOK_MS, signal })) {
      // Without an answer the picture grows old, and says so.
      const now = await this.#lookOnce().catch(() => undefined);
      if (now === undefined || signal.aborted) continue;
      this.#looks = { before: this.#looks.now, now };
      if (this.#mayReadQueue) await this.#readOldest(now).catch(() => undefined);
    }
  }

  async #lookOnce(): Promise<Look> {
    const [queues, tasks, dead] = await Promise.all([
      readQueues(this.#manager, undefined),
      this.#manager.streams.info(MESH_TASKS.name),
      this.#manager.streams.info(MESH_DEAD.name),
    ]);
    return {
      atMs: systemClock.elapsed(),
      queues: queues.capabilities,
      running: await this.#runningOfPaused(queues.capabilities),
      delayed: queues.delayed,
      submitted: tasks.state.last_seq,
      finished: tasks.state.last_seq - tasks.state.messages,
      died: dead.state.last_seq,
      dead: dead.state.messages,
    };
  }

  /** How many tasks of each paused capability run, as far as a coordinator can tell. */
  async #runningOfPaused(queues: ReadonlyMap<string, Queue>): Promise<ReadonlyMap<string, number>> {
    const running = new Map<string, number>();
    const { client, target } = this.#session;
    for (const capability of settingsOf(this.#settings.entries()).paused.keys()) {
      const { stored = 0, waiting = 0 } = queues.get(capability) ?? {};
      if (stored === waiting) continue;
      const filter = { status: "running", capability, limit: RUNNING_MAX };
      const { timeoutMs } = target;
      const answer = await client.askOnce(LIST_SUBJECT, filter, TaskList, { timeoutMs });
      const { complete, tasks } = answer.kind === "ok" ? answer.value : NO_LIST;
      if (complete && tasks.length < RUNNING_MAX) running.set(capability, tasks.length);
    }
    return running;
  }

  async #readOldest(look: Look): Promise<void> {
    const lanes = [...look.queues.values()]
      .flatMap((queue) => queue.lanes.map((lane) => ({ queue, lane })))
      .filter(({ lane }) => lane.waiting > 0)
      .slice(0, OLDEST_MAX);
    const oldest = new Map<string, number>();
    const read = async ({
      queue,
      lane,
    }: {
      queue: Queue;
      lane: (typeof lanes)[number]["lane"];
    }) => {
      // What was handed out counts as running here, so the first that was not is what waits.
      const at = await oldestWaiting(this.#manager, queue.capability, lane);
      const known = oldest.get(queue.capability);
      if (at !== undefined) oldest.set(queue.capability, Math.min(known ?? at, at));
    };
    await Promise.all(lanes.map(read));
    this.#oldest = oldest;
  }

  /** A busy mesh changes more records a second than anyone can read: then they are left alone. */
  async #followTasks(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      let changes = 0;
      const subscription = this.#session.nc.subscribe(taskStateSubject("*"), {
        callback: (error, message) => {
          if (error !== null) return;
          changes++;
          const id = message.subject;
          this.#tasks.delete(id);
          this.#tasks.set(id, message.data);
          for (const first of this.#tasks.keys()) {
            if (this.#tasks.size <= TASKS_MAX) break;
            this.#tasks.delete(first);
          }
        },
      });
      this.#following = true;
      while (!signal.aborted && changes <= CHANGES_MAX) {
        changes = 0;
        await systemClock.sleep(1_000, signal);
      }
      subscription.unsubscribe();
      this.#following = signal.aborted;
      await systemClock.sleep(LEFT_ALONE_MS, signal);
    }
  }

  /** The mesh as it is known now. */
  picture(): Picture {
    const elapsed = systemClock.elapsed();
    const settings = settingsOf(this.#settings.entries());
    const records = [...this.#nodes.entries()].map(([, record]) => record);
    const { now, before } = this.#looks;
    const leader = LeaderLease.safeParse(this.#leases.get(LEADING));
    const lease = (id: string): NodeLease | undefined => {
      const read = NodeLease.safeParse(this.#leases.get(nodeLeaseKey(id)));
      return read.success ? read.data : undefined;
    };
    return {
      nowMs: systemClock.now(),
      fresh: {
        url: this.#session.nc.getServer(),
        linked: this.#lostAtMs === undefined,
        lostForMs: this.#lostAtMs === undefined ? 0 : elapsed - this.#lostAtMs,
        ageMs: now === undefined ? Number.POSITIVE_INFINITY : elapsed - now.atMs,
      },
      leader: leader.success ? leader.data : undefined,
      nodes: nodeRows(records, lease, settings),
      capabilities: capabilityRows(records, settings, this.#looks, this.#oldest),
      rates: now === undefined ? undefined : ratesOf(before, now),
      delayed: now?.delayed ?? 0,
      dead: now?.dead ?? 0,
      paused: [...settings.paused.keys()],
      tasks: [...this.#tasks.values()].reverse().flatMap((bytes) => {
        const record = decode(TaskRecord, bytes);
        return record.ok ? [record.value] : [];
      }),
      events: [...this.#events].reverse(),
      notes: [
        ...(this.#following
          ? []
          : [
              `more than ${CHANGES_MAX} changes of tasks a second: they are not followed for a while`,
            ]),
        ...(this.#mayReadQueue
          ? []
          : ["this key may not read the queue: how long tasks wait is not known"]),
      ],
    };
  }
}

const NO_LOOK: Look = {
  ...{
    atMs: 0,
    queues: new Map(),
    running: new Map(),
    delayed: 0,
    submitted: 0,
    finished: 0,
    died: 0,
    dead: 0,
  },
};
