/**
 * Everything the page knows of the mesh, and the loops that keep it so.
 *
 * Nodes, leases, events and dead letters are followed by ordered consumers; task changes by what
 * the server republishes. Each new connection reads again what may have been missed. The state is
 * changed in place and drawn a few times a second, however much arrives.
 */
import { type JetStreamManager, type JsMsg, jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { Msg, NatsConnection } from "@nats-io/nats-core";
import { signal } from "@preact/signals";
import {
  type BucketSpec,
  CapabilitySetting,
  capabilitySettingKey,
  decode,
  LEASES_BUCKET,
  LeaderLease,
  lastTokenOf,
  leaderLeaseKey,
  MESH_DEAD,
  MESH_EVENTS,
  NODES_BUCKET,
  NodeLease,
  NodeRecord,
  NodeSetting,
  nodeLeaseKey,
  nodeSettingKey,
  SETTINGS_BUCKET,
  TASKS_BUCKET,
  TaskRecord,
  taskStateSubject,
} from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";
import { type EventRow, eventOf } from "./events.ts";
import { endOfLease, type Heard, inOrder } from "./fleet.ts";
import { Flow } from "./flow.ts";
import { follow } from "./follow.ts";
import { type Letter, letterOf } from "./letters.ts";
import type { Link } from "./link.ts";
import { readBackwards, readSince } from "./past.ts";
import { type Depths, readDepths, SOUNDING_MS } from "./sounding.ts";
import { TaskIndex } from "./task-index.ts";

/** How often ages are drawn anew, and leases looked through, ms. */
const TICK_MS = 250;
/** Between two drawings, ms: people see no more, and a list of thousands takes its time. */
const DRAW_MS = 80;
/** Events and dead letters that are kept, the newest. */
const EVENTS_MAX = 500;
export const LETTERS_MAX = 500;

export class MeshView {
  readonly link: Link;
  readonly nodes = new Map<string, NodeRecord>();
  readonly nodeLeases = new Map<string, Heard<NodeLease>>();
  readonly leaderLeases = new Map<string, Heard<LeaderLease>>();
  /** What operators hold back, and who said so. */
  readonly paused = new Map<string, CapabilitySetting>();
  readonly cordoned = new Map<string, NodeSetting>();
  readonly tasks = new TaskIndex();
  readonly flow = new Flow();
  /** Oldest first. */
  readonly events: EventRow[] = [];
  readonly letters = new Map<number, Letter>();
  /** Grows, a few times a second, when something above has changed. */
  readonly version = signal(0);
  /** Monotonic and wall time, as of the last tick. */
  readonly now = signal(systemClock.elapsed());
  readonly wall = signal(systemClock.now());
  /** Grows once a second: what the charts wait for. */
  readonly second = signal(0);
  readonly depths = signal<Depths | undefined>(undefined);
  /** Have nodes and leases been read since the page was opened? */
  readonly ready = signal(false);
  /** How far back task records have been read, and whether there is more. */
  readonly past = signal({ before: 0, more: false, reading: false });
  /** The task whose record is wanted whole, and that record. */
  readonly open = signal<TaskRecord | undefined>(undefined);
  openId = "";
  #drawing = false;
  #order: readonly string[] | undefined;
  #taskCursor = 0;
  #manager: JetStreamManager | undefined;

  constructor(link: Link) {
    this.link = link;
  }

  /** Runs for as long as the page is open. */
  run(): void {
    void this.#tick();
    void this.link.run((nc, down) => void this.#up(nc, down));
  }

  /** JetStream's reading side; throws while there is no connection. */
  get manager(): JetStreamManager {
    if (this.#manager === undefined || this.link.phase.value !== "connected") {
      throw new Error("not connected");
    }
    return this.#manager;
  }

  /** Reads older task records; for the button that says so. */
  async readOlder(): Promise<void> {
    const { before, reading } = this.past.value;
    if (reading) return;
    this.past.value = { before, more: true, reading: true };
    const next = await readBackwards(this.manager, before, (record, revision) =>
      this.tasks.putOld(record, revision),
    ).catch(() => before);
    this.past.value = { before: next, more: next > 1 && next < before, reading: false };
    this.touch();
  }

  /** Nodes in the order of their ids, which is kept: sorting thousands takes longer than a frame. */
  nodesInOrder(): readonly NodeRecord[] {
    this.#order ??= inOrder(this.nodes.keys());
    return this.#order.flatMap((id) => this.nodes.get(id) ?? []);
  }

  /** Draws what changed, a moment later, at a frame. */
  touch(): void {
    if (this.#drawing) return;
    this.#drawing = true;
    void systemClock.sleep(DRAW_MS).then(() =>
      requestAnimationFrame(() => {
        this.#drawing = false;
        this.version.value++;
      }),
    );
  }

  async #tick(): Promise<void> {
    for (;;) {
      this.now.value = systemClock.elapsed();
      this.wall.value = systemClock.now();
      const at = Math.floor(this.wall.value / 1_000);
      if (this.flow.seconds.at(-1)?.at !== at) this.second.value++;
      this.flow.tick(at, this.link.phase.value === "connected");
      await systemClock.sleep(TICK_MS);
    }
  }

  async #up(nc: NatsConnection, down: AbortSignal): Promise<void> {
    const js = jetstream(nc);
    this.#manager = await jetstreamManager(nc, { checkAPI: false });
    const manager = this.#manager;
    void follow(js, this.#nodesFollow(), down);
    void follow(js, this.#leasesFollow(), down);
    void follow(js, this.#settingsFollow(), down);
    void this.#hearTasks(nc, down);
    void this.#sound(manager, down);
    void this.#catchUp(manager, down);
    const newest = async (stream: string, max: number): Promise<number> => {
      const { state } = await manager.streams.info(stream);
      return Math.max(state.first_seq, state.last_seq - max + 1);
    };
    const [events, letters] = await Promise.all([
      newest(MESH_EVENTS.name, EVENTS_MAX).catch(() => 1),
      newest(MESH_DEAD.name, LETTERS_MAX).catch(() => 1),
    ]);
    void follow(js, this.#eventsFollow(events), down);
    void follow(js, this.#lettersFollow(letters), down);
  }

  #nodesFollow() {
    const unseen = new Set<string>();
    return {
      stream: streamOf(NODES_BUCKET),
      from: "last_of_each" as const,
      onStart: () => fill(unseen, this.nodes.keys()),
      onMessage: (message: JsMsg) => {
        const id = lastTokenOf(message.subject);
        unseen.delete(id);
        const record = decode(NodeRecord, message.data);
        if (record.ok !== this.nodes.has(id)) this.#order = undefined;
        if (record.ok) this.nodes.set(id, record.value);
        else if (message.data.length === 0) this.nodes.delete(id);
        this.touch();
      },
      onCurrent: () => {
        for (const id of unseen) this.nodes.delete(id);
        if (unseen.size > 0) this.#order = undefined;
        this.touch();
      },
    };
  }

  /** Nothing is ever deleted here: who takes a setting back writes that it is off. */
  #settingsFollow() {
    return {
      stream: streamOf(SETTINGS_BUCKET),
      from: "last_of_each" as const,
      onMessage: (message: JsMsg) => {
        const name = lastTokenOf(message.subject);
        const key = keyOf(SETTINGS_BUCKET, message.subject);
        if (key === nodeSettingKey(name)) {
          const setting = decode(NodeSetting, message.data);
          if (setting.ok && setting.value.cordoned) this.cordoned.set(name, setting.value);
          else this.cordoned.delete(name);
        } else if (key === capabilitySettingKey(name)) {
          const setting = decode(CapabilitySetting, message.data);
          if (setting.ok && setting.value.paused) this.paused.set(name, setting.value);
          else this.paused.delete(name);
        }
        this.touch();
      },
    };
  }

  #leasesFollow() {
    const unseen = new Set<string>();
    // Leases that were stored before we came, and when.
    const found = new Map<string, number>();
    let current = false;
    let newestMs = 0;
    return {
      stream: streamOf(LEASES_BUCKET),
      from: "last_of_each" as const,
      onStart: () => {
        current = false;
        found.clear();
        fill(unseen, [
          ...[...this.nodeLeases.keys()].map(nodeLeaseKey),
          ...[...this.leaderLeases.keys()].map(leaderLeaseKey),
        ]);
      },
      onMessage: (message: JsMsg) => {
        const key = keyOf(LEASES_BUCKET, message.subject);
        const writtenMs = message.time.getTime();
        unseen.delete(key);
        newestMs = Math.max(newestMs, writtenMs);
        if (!current) found.set(key, writtenMs);
        this.#putLease(key, message);
        this.touch();
      },
      onCurrent: () => {
        current = true;
        for (const [key, writtenMs] of found) this.#shorten(key, newestMs - writtenMs);
        for (const key of unseen) this.#dropLease(key);
        this.ready.value = true;
        this.touch();
      },
    };
  }

  #putLease(key: string, message: JsMsg): void {
    const now = systemClock.elapsed();
    const ttlHeader = message.headers?.get("Nats-TTL") ?? "";
    const end = endOfLease({ now, ttlHeader });
    const name = lastTokenOf(key);
    const about = { revision: message.seq, ...end };
    if (key === nodeLeaseKey(name)) {
      const lease = decode(NodeLease, message.data);
      if (lease.ok) this.nodeLeases.set(name, { lease: lease.value, ...about });
      else this.nodeLeases.delete(name);
    } else if (key === leaderLeaseKey(name)) {
      const lease = decode(LeaderLease, message.data);
      if (lease.ok) this.leaderLeases.set(name, { lease: lease.value, ...about });
      else this.leaderLeases.delete(name);
    }
  }

  /** A lease that was found was already so old when we found it. */
  #shorten(key: string, ageMs: number): void {
    const name = lastTokenOf(key);
    if (key === nodeLeaseKey(name)) shorten(this.nodeLeases, name, ageMs);
    else shorten(this.leaderLeases, name, ageMs);
  }

  #dropLease(key: string): void {
    const name = lastTokenOf(key);
    if (key === nodeLeaseKey(name)) this.nodeLeases.delete(name);
    else this.leaderLeases.delete(name);
  }

  #eventsFollow(from: number) {
    return {
      stream: MESH_EVENTS.name,
      from,
      onMessage: (message: JsMsg) => {
        const last = this.events.at(-1);
        // After a new beginning the same ones come again.
        if (last !== undefined && message.seq <= last.seq) return;
        const event = eventOf(message.seq, message.subject, message.data);
        if (event !== undefined) this.events.push(event);
        if (this.events.length > EVENTS_MAX) this.events.shift();
        this.touch();
      },
    };
  }

  #lettersFollow(from: number) {
    return {
      stream: MESH_DEAD.name,
      from,
      headersOnly: true,
      onMessage: (message: JsMsg) => {
        this.letters.set(message.seq, letterOf(message));
        const [oldest] = this.letters.keys();
        if (this.letters.size > LETTERS_MAX && oldest !== undefined) this.letters.delete(oldest);
        this.touch();
      },
    };
  }

  async #hearTasks(nc: NatsConnection, down: AbortSignal): Promise<void> {
    const changes = nc.subscribe(taskStateSubject("*"));
    down.addEventListener("abort", () => changes.unsubscribe(), { once: true });
    for await (const message of changes) this.#hearTask(message);
  }

  #hearTask(message: Msg): void {
    const id = lastTokenOf(message.subject);
    const previous = this.tasks.get(id);
    if (!this.flow.arrives(id, previous !== undefined || id === this.openId)) return;
    // Headers are read, and records, of those alone that are wanted: it is most of the work.
    const revision = Number(message.headers?.get("Nats-Sequence") ?? 0);
    this.#taskCursor = Math.max(this.#taskCursor, revision);
    const record = decode(TaskRecord, message.data);
    if (!record.ok) {
      // A record whose day is over.
      if (message.data.length === 0) this.tasks.forget(id);
      return;
    }
    this.flow.add(record.value, previous);
    this.tasks.put(record.value, revision);
    if (id === this.openId) this.open.value = record.value;
    this.touch();
  }

  /** What was there before this connection: at first the newest records, later those since. */
  async #catchUp(manager: JetStreamManager, down: AbortSignal): Promise<void> {
    try {
      const { state } = await manager.streams.info(streamOf(TASKS_BUCKET));
      const put = (record: TaskRecord, revision: number): boolean =>
        this.tasks.putOld(record, revision);
      if (this.past.value.before > 0) {
        const from = this.#taskCursor;
        this.#taskCursor = Math.max(this.#taskCursor, state.last_seq);
        await readSince(manager, { from, to: state.last_seq, down }, (record, revision) => {
          this.tasks.put(record, revision);
          return true;
        });
      } else {
        this.#taskCursor = Math.max(this.#taskCursor, state.last_seq);
        const before = await readBackwards(manager, state.last_seq + 1, put);
        const more = before > Math.max(1, state.first_seq);
        this.past.value = { before, more, reading: false };
      }
      this.touch();
    } catch {
      // The store is away, or the link again: the next connection catches up.
    }
  }

  async #sound(manager: JetStreamManager, down: AbortSignal): Promise<void> {
    while (!down.aborted) {
      const depths = await readDepths(manager).catch(() => undefined);
      if (down.aborted) return;
      if (depths !== undefined) {
        this.depths.value = depths;
        this.flow.depth(depths.stored);
      }
      await systemClock.sleep(SOUNDING_MS, down);
    }
  }
}

function streamOf({ name }: BucketSpec): string {
  return `KV_${name}`;
}

/** `$KV.<bucket>.<key>` → the key. */
function keyOf(bucket: BucketSpec, subject: string): string {
  return subject.slice(subject.indexOf(bucket.name) + bucket.name.length + 1);
}

function shorten<T>(leases: Map<string, Heard<T>>, name: string, ageMs: number): void {
  const heard = leases.get(name);
  if (heard !== undefined) leases.set(name, { ...heard, endsAt: heard.endsAt - ageMs });
}

function fill(set: Set<string>, keys: Iterable<string>): void {
  set.clear();
  for (const key of keys) set.add(key);
}
