/**
 * Follows tasks until they end: any number, with one look-out and one sweep for all of them.
 *
 * The server republishes each accepted record on `mesh.tasks.state.<task>`: that makes it fast. A
 * message may be missed while the link is down, and a task that ended earlier sends none; so a
 * record is also asked for, at first, when the link returns, and after seconds without news: that
 * makes it correct.
 */
import { isDeepStrictEqual } from "node:util";
import { DURATION_MAX_MS, decode, isFinal, TaskRecord } from "@swarm-mesh/protocol";
import { BriefMap, type Clock, type Random } from "@swarm-mesh/runtime";
import type { Msg, NatsConnection } from "nats";
import { onAbort } from "./abort.ts";
import { MeshClientError, WaitTimeoutError } from "./errors.ts";
import { EndFollower, type Follower, StepFollower } from "./follower.ts";
import { StateFeed } from "./state-feed.ts";
import { unfinishedText } from "./unfinished.ts";

/** How long a wait goes on. */
export interface WaitOptions {
  /** Default: a day, which is as long as a record is kept. Up to 50 ms more may pass. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface FollowingOptions {
  readonly nc: NatsConnection;
  readonly clock: Clock;
  readonly random: Random;
  /**
   * The record as the coordinator has it; `undefined` when there is none, or nobody answers now.
   * Rejects when it is of no use to ask again.
   */
  readonly get: (taskId: string) => Promise<TaskRecord | undefined>;
}

/** How long without news until the record is asked for, half of it at least: not all in step. */
const ASK_INTERVAL_MS = 4_000;
/** Questions on their way at once; the others wait their turn. A herd would hold up the leader. */
const ASKS_MAX = 256;
/** How often is looked for who waits too long, or without news. */
const SWEEP_INTERVAL_MS = 50;

export class Following {
  readonly #options: FollowingOptions;
  /** By task; those asked about last are at the end. */
  readonly #followers = new BriefMap<Follower[]>();
  readonly #feed: StateFeed;
  readonly #closed = new AbortController();
  #sweeping = false;
  #asks = 0;

  constructor(options: FollowingOptions) {
    this.#options = options;
    this.#feed = new StateFeed({
      nc: options.nc,
      clock: options.clock,
      followed: this.#followers,
      onRecord: (taskId, message) => this.#hear(taskId, message),
      onGap: () => this.askAll(),
    });
    void options.nc.closed().then(() => this.#close());
  }

  /** Waits for the task's final record. */
  wait(taskId: string, options: WaitOptions): Promise<TaskRecord> {
    return new Promise((resolve, reject) => {
      const follower = this.listen(taskId, resolve, reject);
      this.begin(follower, "now", options);
    });
  }

  /** Each record as it becomes known, the final one last. */
  async *steps(
    taskId: string,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<TaskRecord, void, undefined> {
    const follower = new StepFollower(taskId, this.#askEveryMs());
    this.#add(follower);
    try {
      this.begin(follower, "now", { timeoutMs: Number.POSITIVE_INFINITY, signal });
      yield* follower.records();
    } finally {
      this.#remove(follower);
    }
  }

  /**
   * Listens for the end of a task that is about to be submitted; {@link begin} or {@link fail} says
   * what became of that. Throws on a closed connection.
   */
  listen(
    taskId: string,
    resolve: (record: TaskRecord) => void,
    reject: (reason: unknown) => void,
  ): EndFollower {
    const follower = new EndFollower(
      { id: taskId, askEveryMs: this.#askEveryMs() },
      resolve,
      reject,
    );
    this.#add(follower);
    return follower;
  }

  /** From here on time counts. The first question is put at once, or when no news has come. */
  begin(follower: Follower, first: "now" | "later", options: WaitOptions): void {
    const { timeoutMs = DURATION_MAX_MS, signal } = options;
    const now = this.#options.clock.elapsed();
    follower.timeoutMs = timeoutMs;
    follower.endAtMs = now + timeoutMs;
    follower.askAtMs = first === "now" ? now : now + follower.askEveryMs;
    follower.submit = undefined;
    if (signal !== undefined) {
      follower.release = onAbort(signal, () => this.fail(follower, abortedError(follower.taskId)));
    }
    if (first === "now" && !follower.over && this.#asks < ASKS_MAX) void this.#ask(follower, now);
  }

  /** Gives up: `follower` fails with `reason`, unless it is over. */
  fail(follower: Follower, reason: unknown): void {
    if (this.#remove(follower)) follower.fail(reason);
  }

  /** Asks for all records, as soon as may be: some may have changed unheard. */
  askAll(): void {
    for (const followers of this.#followers.values()) {
      for (const follower of followers) {
        if (Number.isFinite(follower.askAtMs)) follower.askAtMs = 0;
      }
    }
    this.#pass();
  }

  #askEveryMs(): number {
    return ASK_INTERVAL_MS * (0.5 + this.#options.random() / 2);
  }

  #add(follower: Follower): void {
    const { taskId } = follower;
    const others = this.#followers.get(taskId);
    if (others !== undefined) {
      others.push(follower);
      return;
    }
    const { nc } = this.#options;
    if (nc.isClosed() || nc.isDraining()) throw closedError();
    this.#feed.add(taskId);
    this.#followers.set(taskId, [follower]);
    if (!this.#sweeping) void this.#sweep();
  }

  #remove(follower: Follower): boolean {
    if (follower.over) return false;
    follower.over = true;
    follower.submit?.drop();
    follower.release?.();
    const { taskId } = follower;
    const followers = this.#followers.get(taskId) ?? [];
    if (followers.length > 1) {
      this.#followers.set(
        taskId,
        followers.filter((each) => each !== follower),
      );
    } else {
      this.#followers.delete(taskId);
      this.#feed.remove(taskId);
    }
    return true;
  }

  #hear(taskId: string, message: Msg): boolean {
    const followers = this.#followers.get(taskId);
    // Another's task: its bytes are not even looked at.
    if (followers === undefined) return false;
    const { data } = message;
    const now = this.#options.clock.elapsed();
    for (const follower of followers) {
      follower.heard++;
      if (follower.askAtMs !== Number.POSITIVE_INFINITY) {
        follower.askAtMs = now + follower.askEveryMs;
      }
    }
    const text = unfinishedText(data);
    if (text !== undefined && !followers.some(wantsAll)) {
      // Kept as it came: most are never read.
      for (const follower of followers) follower.last = text;
      return true;
    }
    const record = decode(TaskRecord, data);
    // A removed key is republished as an empty message.
    if (record.ok && record.value.id === taskId) this.#learn(followers, record.value);
    return true;
  }

  #learn(followers: readonly Follower[], record: TaskRecord): void {
    for (const follower of followers) {
      if (isFinal(record.status)) {
        if (this.#remove(follower)) follower.take(record);
      } else if (!isDeepStrictEqual(record, follower.last)) {
        // A record may come twice, and an answer may say what is known.
        follower.last = record;
        if (follower.wantsAll) follower.take(record);
      }
    }
  }

  async #ask(follower: Follower, now: number): Promise<void> {
    const { taskId, heard, askEveryMs } = follower;
    follower.askAtMs = now + askEveryMs;
    follower.asking = true;
    this.#asks++;
    try {
      const record = await this.#options.get(taskId);
      if (record === undefined || record.id !== taskId) return;
      // What was heard since may be newer than the answer, except than a final one.
      if (isFinal(record.status)) this.#learn(this.#followers.get(taskId) ?? [], record);
      else if (follower.heard === heard && !follower.over) this.#learn([follower], record);
    } catch (reason) {
      this.fail(follower, reason);
    } finally {
      follower.asking = false;
      this.#asks--;
    }
  }

  /** Runs while anybody follows, and until nothing is shared any more. */
  async #sweep(): Promise<void> {
    const { signal } = this.#closed;
    this.#sweeping = true;
    while (this.#followers.size > 0 || this.#feed.shares) {
      await this.#options.clock.sleep(SWEEP_INTERVAL_MS, signal);
      if (signal.aborted) return;
      this.#pass();
      this.#feed.review();
    }
    this.#sweeping = false;
  }

  /** Ends the waits that are over time, and asks for what there has been no news of. */
  #pass(): void {
    const now = this.#options.clock.elapsed();
    const due: Follower[] = [];
    for (const followers of this.#followers.values()) {
      for (const follower of followers) {
        if (follower.endAtMs <= now) this.fail(follower, lateError(follower));
        else if (follower.askAtMs <= now && !follower.asking) due.push(follower);
      }
    }
    for (const follower of due.slice(0, Math.max(0, ASKS_MAX - this.#asks))) {
      this.#toTheEnd(follower.taskId);
      void this.#ask(follower, now);
    }
  }

  /** Whoever was asked about is looked at last, so that the bound on questions starves nobody. */
  #toTheEnd(taskId: string): void {
    const followers = this.#followers.get(taskId);
    if (followers === undefined) return;
    this.#followers.delete(taskId);
    this.#followers.set(taskId, followers);
  }

  #close(): void {
    this.#closed.abort();
    for (const followers of this.#followers.values()) {
      for (const follower of followers) this.fail(follower, closedError());
    }
  }
}

function wantsAll(follower: Follower): boolean {
  return follower.wantsAll;
}

function lateError(follower: Follower): WaitTimeoutError {
  return new WaitTimeoutError(follower.taskId, follower.timeoutMs, follower.lastRecord());
}

function abortedError(taskId: string): MeshClientError {
  return new MeshClientError("aborted", `the wait for task ${taskId} was aborted`);
}

function closedError(): MeshClientError {
  return new MeshClientError("closed", "the connection was closed");
}
