/**
 * Writes down what a running mesh does, for the checker: follows what the streams and buckets
 * accept, and looks at all of it once more when the run is over.
 *
 * Every stream is read by a consumer of its own, in the order of its revisions, and read on from the
 * last one when a link or a server was gone: a change that was kept is not missed. (Leases and
 * checkpoints keep one value a key, so of those only what was overwritten meanwhile is not seen.)
 */
import { createReadStream, existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { bucketStream, goodHeaders, isMarker, openManager, watchLink } from "@swarm-mesh/bus";
import { type HistoryEntry, HistoryWriter, type Watched } from "@swarm-mesh/checker";
import {
  CHECKPOINTS_BUCKET,
  decode,
  Header,
  isTaskId,
  LEASES_BUCKET,
  LeaderLease,
  looseValue,
  MESH_DEAD,
  MESH_RETRIES,
  MESH_TASKS,
  NODES_BUCKET,
  NodeLease,
  NodeRecord,
  TASKS_BUCKET,
  TaskRecord,
  tokenOf,
} from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";
import type { MsgHdrs, NatsConnection } from "nats";

export interface RecorderOptions {
  /** Connects as a user of the mesh that may read every stream: {@link RecorderOptions.user}. */
  readonly connect: (user: string) => Promise<NatsConnection>;
  /** Default `admin`. */
  readonly user?: string;
  /** The history's file, which is appended to. */
  readonly file: string;
  /**
   * Capabilities whose handlers write `started` and `ended` lines for each run, into files given to
   * {@link Recorder.finish}. Default: none; then nothing is concluded from a run that is not there.
   */
  readonly tracedCapabilities?: readonly string[];
  /**
   * How far a checkpoint says its handler was; `undefined`: it says nothing. Default: the bytes as a
   * number, or their field `step`.
   */
  readonly checkpointValue?: (saved: Uint8Array) => number | undefined;
  /** Told each record as it comes; the recorder itself keeps none. */
  readonly onRecord?: (record: TaskRecord) => void;
}

export interface FinishOptions {
  /** Files of `started` and `ended` lines that handlers wrote; one that is not there is empty. */
  readonly traces?: readonly string[];
  /**
   * Is the mesh at rest, so that what is not finished now never will be? Default true; false leaves
   * the `end` line out, and the checker then concludes nothing from what is unfinished.
   */
  readonly atRest?: boolean;
}

/** A line without its time: it is written with the present one. */
export type Note = DistributedOmit<HistoryEntry, "at"> & { readonly at?: number };
type DistributedOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

type Manager = Awaited<ReturnType<typeof openManager>>;
type Consumer = Awaited<ReturnType<ReturnType<Manager["jetstream"]>["consumers"]["get"]>>;
type Messages = Awaited<ReturnType<Consumer["consume"]>>;

/** A stored message, as a follower or a last look sees it. */
interface StoredLine {
  readonly subject: string;
  readonly revision: number;
  readonly storedAt: number;
  readonly headers: MsgHdrs | undefined;
  readonly data: Uint8Array;
}

const WATCHED: readonly Watched[] = ["records", "dead-letters", "checkpoints", "nodes", "leases"];
/** How long the followers may take to see what was stored before the run was over. */
const CATCH_UP_MS = 20_000;
/** A follower that is behind and hears nothing for so long begins again. */
const SILENT_MS = 2_000;
const POLL_MS = 20;
const RETRY_MS = 200;
const EXPECTED_REVISION = "Nats-Expected-Last-Subject-Sequence";
const MSG_ID = "Nats-Msg-Id";

export class Recorder {
  readonly #options: RecorderOptions;
  readonly #writer: HistoryWriter;
  readonly #nc: NatsConnection;
  readonly #manager: Manager;
  readonly #followers: Follower[] = [];
  readonly #closed = new AbortController();
  /** Tasks that a line was written about. */
  readonly #tasks = new Set<string>();
  /** What was last written of each lease: renewals are left out. */
  readonly #holders = new Map<string, string>();

  private constructor(
    options: RecorderOptions,
    parts: { writer: HistoryWriter; nc: NatsConnection; manager: Manager },
  ) {
    this.#options = options;
    this.#writer = parts.writer;
    this.#nc = parts.nc;
    this.#manager = parts.manager;
  }

  /** Begins to record. Resolves when every stream and bucket is followed from its beginning. */
  static async start(options: RecorderOptions): Promise<Recorder> {
    const nc = await options.connect(options.user ?? "admin");
    const manager = await openManager(nc);
    const recorder = new Recorder(options, {
      writer: new HistoryWriter(options.file),
      nc,
      manager,
    });
    await recorder.#begin();
    return recorder;
  }

  /** Writes a line of the caller's own: a submit, a fault. Its time is now unless it has one. */
  note(line: Note): void {
    if ("task" in line) this.#tasks.add(line.task);
    this.#writer.write({ at: systemClock.now(), ...line } as HistoryEntry);
  }

  /** Hears what was stored up to now, looks at everything once more, and closes the file. */
  async finish(options: FinishOptions = {}): Promise<void> {
    await Promise.all(this.#followers.map((follower) => follower.catchUp(CATCH_UP_MS)));
    await this.#stop();
    for (const file of options.traces ?? []) await this.#merge(file);
    const waiting = [
      ...(await this.#waitingIn(MESH_TASKS.name)),
      ...(await this.#waitingIn(MESH_RETRIES.name)),
    ];
    // After the streams: a message is acknowledged once its record is final, so that a task that ends
    // between the two looks is found by one of them.
    await this.#lookOnceMore(waiting);
    this.note({ by: "streams", what: "waiting-at-end", tasks: waiting });
    if (options.atRest ?? true) this.note({ by: "recorder", what: "end" });
    await this.#writer.close();
    await this.#nc.close();
  }

  /** Ends without a last look, as when the mesh is gone. What was written stays. */
  async abandon(): Promise<void> {
    await this.#stop();
    await this.#writer.close();
    if (!this.#nc.isClosed()) await this.#nc.close();
  }

  async #begin(): Promise<void> {
    this.note({ by: "recorder", what: "watching", kinds: [...WATCHED] });
    const { tracedCapabilities = [] } = this.#options;
    if (tracedCapabilities.length > 0) {
      const capabilities = [...tracedCapabilities];
      this.note({ by: "recorder", what: "watching", kinds: ["runs"], capabilities });
    }
    const hears = [
      [bucketStream(TASKS_BUCKET), (line: StoredLine) => this.#hearRecord(line)],
      [bucketStream(NODES_BUCKET), (line: StoredLine) => this.#hearNode(line)],
      [bucketStream(LEASES_BUCKET), (line: StoredLine) => this.#hearLease(line)],
      [bucketStream(CHECKPOINTS_BUCKET), (line: StoredLine) => this.#hearCheckpoint(line)],
      [MESH_DEAD.name, (line: StoredLine) => this.#hearDead(line)],
    ] as const;
    for (const [stream, hear] of hears) {
      const follower = new Follower(this.#manager, stream, hear);
      this.#followers.push(follower);
      await follower.start();
    }
    // A consumer may have died with the server that knew it, and the client would wait long to see it.
    void watchLink(
      this.#nc,
      (up) => {
        if (up) for (const follower of this.#followers) follower.readOn();
      },
      this.#closed.signal,
    );
  }

  async #stop(): Promise<void> {
    this.#closed.abort();
    await Promise.all(this.#followers.map((follower) => follower.stop()));
  }

  #hearRecord(line: StoredLine): void {
    const task = tokenOf(line.subject, 2);
    const expected = Number(line.headers?.get(EXPECTED_REVISION) || Number.NaN);
    const shared = {
      by: "bucket",
      task,
      revision: line.revision,
      storedAt: line.storedAt,
      ...(Number.isNaN(expected) ? {} : { previous: expected }),
    };
    if (isGone(line)) {
      this.note({ ...shared, what: "record", record: null });
      return;
    }
    const record = decode(TaskRecord, line.data);
    if (!record.ok) {
      const { problem } = record;
      this.note({
        by: "bucket",
        what: "record-unreadable",
        task,
        revision: line.revision,
        problem,
      });
      return;
    }
    this.note({ ...shared, what: "record", record: record.value });
    this.#options.onRecord?.(record.value);
  }

  #hearNode(line: StoredLine): void {
    const record = isGone(line) ? undefined : decode(NodeRecord, line.data);
    if (record?.ok !== true) return;
    const { id: node, incarnation, state } = record.value;
    this.note({
      at: line.storedAt,
      by: "bucket",
      what: "node",
      node,
      revision: line.revision,
      incarnation,
      state,
    });
  }

  #hearLease(line: StoredLine): void {
    const [, , kind = "", name = ""] = line.subject.split(".");
    const { revision, storedAt } = line;
    if (kind === "leader") {
      const lease = isGone(line) ? undefined : decode(LeaderLease, line.data);
      const holder = lease?.ok
        ? { instance: lease.value.instance, epoch: lease.value.epoch || revision }
        : null;
      if (!this.#isNew(line.subject, JSON.stringify(holder))) return;
      this.note({ by: "bucket", what: "leader-lease", service: name, revision, storedAt, holder });
    } else if (kind === "node") {
      const lease = isGone(line) ? undefined : decode(NodeLease, line.data);
      const incarnation = lease?.ok ? lease.value.incarnation : null;
      if (!this.#isNew(line.subject, String(incarnation))) return;
      this.note({ by: "bucket", what: "node-lease", node: name, revision, storedAt, incarnation });
    }
  }

  #isNew(key: string, holder: string): boolean {
    if (this.#holders.get(key) === holder) return false;
    this.#holders.set(key, holder);
    return true;
  }

  #hearCheckpoint(line: StoredLine): void {
    const { revision, storedAt } = line;
    const [node, task] = [tokenOf(line.subject, 2), tokenOf(line.subject, 3)];
    const read = this.#options.checkpointValue ?? numberIn;
    const value = isGone(line) ? null : read(line.data);
    if (value === undefined) return;
    const attempt = Number(line.headers?.get(Header.attempt)) || undefined;
    const tried = attempt === undefined ? {} : { attempt };
    this.note({
      by: "bucket",
      what: "checkpoint",
      task,
      node,
      revision,
      storedAt,
      value,
      ...tried,
    });
  }

  #hearDead(line: StoredLine): void {
    const task = tokenOf(line.subject, 2);
    const status = line.headers?.get(Header.status) === "rejected" ? "rejected" : "failed";
    if (isTaskId(task)) this.note({ by: "stream", what: "dead-letter", task, status });
  }

  async #merge(file: string): Promise<void> {
    if (!existsSync(file)) return;
    for await (const text of createInterface({ input: createReadStream(file) })) {
      if (text !== "") this.note(JSON.parse(text) as Note & { at: number });
    }
  }

  /** Tasks whose messages are in a work queue: nothing else may consume it, so each one is fetched. */
  async #waitingIn(stream: string): Promise<string[]> {
    const tasks: string[] = [];
    for (let seq = 1; ; ) {
      const query = { seq, next_by_subj: ">" };
      const message = await this.#manager.streams.getMessage(stream, query);
      if (message === null) return tasks;
      const h = goodHeaders(() => message.header);
      const own = h?.get(Header.taskId) || h?.get(MSG_ID) || `s${message.seq}`;
      if (isTaskId(own)) tasks.push(own);
      seq = message.seq + 1;
    }
  }

  /** What the bucket says now of every task there is a line about. */
  async #lookOnceMore(waiting: readonly string[]): Promise<void> {
    for (const task of waiting) this.#tasks.add(task);
    const found = new Map<string, StoredLine>();
    const reader = new Follower(this.#manager, bucketStream(TASKS_BUCKET), (line) => {
      found.set(tokenOf(line.subject, 2), line);
    });
    await reader.start();
    await reader.catchUp(CATCH_UP_MS);
    await reader.stop();
    for (const task of new Set([...this.#tasks, ...found.keys()])) {
      const line = found.get(task);
      found.delete(task);
      const record = line === undefined || isGone(line) ? undefined : decode(TaskRecord, line.data);
      // A record that cannot be read was told as such when it was stored.
      if (record?.ok === false) continue;
      this.note({
        by: "bucket",
        what: "record-final-look",
        task,
        revision: line?.revision ?? 0,
        record: record?.value ?? null,
      });
    }
  }
}

/** Reads one stream from its beginning, in order, for as long as it is told to. */
class Follower {
  readonly #manager: Manager;
  readonly #stream: string;
  readonly #hear: (line: StoredLine) => void;
  #cursor = 0;
  #stopped = false;
  #messages: { stop: () => void } | undefined;
  #done: Promise<void> = Promise.resolve();

  constructor(manager: Manager, stream: string, hear: (line: StoredLine) => void) {
    this.#manager = manager;
    this.#stream = stream;
    this.#hear = hear;
  }

  /** Resolves once the stream is read. */
  async start(): Promise<void> {
    const messages = await this.#open();
    this.#done = this.#readOn(messages);
  }

  /** Resolves when everything that is stored now was heard. Rejects when that takes too long. */
  async catchUp(timeoutMs: number): Promise<void> {
    const deadline = systemClock.elapsed() + timeoutMs;
    const target = await this.#newest(deadline);
    let [cursor, since] = [this.#cursor, systemClock.elapsed()];
    while (this.#cursor < target) {
      const now = systemClock.elapsed();
      if (now > deadline) {
        throw new Error(`${this.#stream}: heard up to ${this.#cursor} of ${target}`);
      }
      if (this.#cursor > cursor) {
        [cursor, since] = [this.#cursor, now];
      } else if (now - since > SILENT_MS) {
        // A link that died without a word leaves a consumer that looks alive and hears nothing.
        this.readOn();
        since = now;
      }
      await systemClock.sleep(POLL_MS);
    }
  }

  /** Reads on from the last one with a new consumer. */
  readOn(): void {
    this.#messages?.stop();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#messages?.stop();
    await this.#done;
  }

  /** The place of the newest message that is still there; 0: there is none. */
  async #newest(deadline: number): Promise<number> {
    for (;;) {
      try {
        const { state } = await this.#manager.streams.info(this.#stream);
        return state.messages === 0 ? 0 : await this.#newestOf(state.last_seq);
      } catch (error) {
        if (systemClock.elapsed() > deadline) throw error;
        await systemClock.sleep(RETRY_MS);
      }
    }
  }

  /** The last sequence may be of a message that has expired: only what is there can be heard. */
  async #newestOf(last: number): Promise<number> {
    const message = await this.#manager.streams.getMessage(this.#stream, { last_by_subj: ">" });
    return message?.seq ?? last;
  }

  async #open(): Promise<Messages> {
    const from = this.#cursor + 1;
    const consumer = await this.#manager
      .jetstream()
      .consumers.get(this.#stream, { opt_start_seq: from });
    // A consumer that the server forgot shows by its silence.
    const messages = await consumer.consume({ expires: 4_000, idle_heartbeat: 1_000 });
    this.#messages = messages;
    return messages;
  }

  async #readOn(first: Messages): Promise<void> {
    let messages: Messages | undefined = first;
    while (!this.#stopped) {
      try {
        messages ??= await this.#open();
        for await (const message of messages) {
          if (this.#stopped) return;
          this.#take({
            subject: message.subject,
            revision: message.seq,
            storedAt: Number(message.timestampNanos / 1_000n) / 1_000,
            headers: goodHeaders(() => message.headers),
            data: message.data,
          });
        }
      } catch {
        // The server is away, or the link: read on from the last one when it is back.
        if (!this.#stopped) await systemClock.sleep(RETRY_MS);
      }
      messages = undefined;
    }
  }

  #take(line: StoredLine): void {
    if (line.revision <= this.#cursor) return;
    this.#cursor = line.revision;
    this.#hear(line);
  }
}

function isGone(line: StoredLine): boolean {
  return line.data.length === 0 || isMarker(line.headers);
}

function numberIn(saved: Uint8Array): number | undefined {
  const value = looseValue(saved);
  const step = typeof value === "object" && value !== null && "step" in value ? value.step : value;
  return typeof step === "number" ? step : undefined;
}
