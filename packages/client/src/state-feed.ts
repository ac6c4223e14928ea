/**
 * Hears the records that the server republishes for the tasks that are followed.
 *
 * Few tasks have a subscription each: nobody is sent what others do. But each costs the server,
 * which makes a second one in the account the records come from, more than the task's records do.
 * So many tasks share one subscription to all records, and what nobody follows is dropped by its
 * subject. The price is a message for each record of others; when those are far more than our own,
 * as in a mesh of many busy clients, it is back to one subscription each for a while.
 *
 * Each switch subscribes anew before it lets go of the old, so for a moment a record comes twice,
 * and none is missed.
 */
import { lastTokenOf, taskStateSubject } from "@swarm-mesh/protocol";
import { BriefMap, type Clock } from "@swarm-mesh/runtime";
import type { Msg, NatsConnection, Subscription } from "nats";

/** So many tasks at once share one subscription, until a whole window had fewer than the second. */
const SHARE_FROM = 32;
const SHARE_TO = 8;
/** How long is counted before sharing is judged. */
const WINDOW_MS = 1_000;
/** Records of others in a window that are always borne, and how many more for each of ours. */
const OTHERS_MIN = 1_000;
const OTHERS_PER_OWN = 16;
/** How long each task has its own subscription once there were too many records of others. */
const APART_MS = 30_000;

export interface StateFeedOptions {
  readonly nc: NatsConnection;
  readonly clock: Clock;
  /** The ids to hear of. Whoever changes it says so by {@link StateFeed.add} and `remove`. */
  readonly followed: Pick<BriefMap<unknown>, "keys" | "size">;
  /** A record came; `false` when nobody follows that task. Must not throw. */
  readonly onRecord: (taskId: string, message: Msg) => boolean;
  /** Records may have been missed. Must not throw. */
  readonly onGap: () => void;
}

export class StateFeed {
  readonly #options: StateFeedOptions;
  #own = new BriefMap<Subscription>();
  #shared: Subscription | undefined;
  #apartUntilMs = 0;
  #windowEndsMs = 0;
  #most = 0;
  #ours = 0;
  #others = 0;

  constructor(options: StateFeedOptions) {
    this.#options = options;
  }

  /** Does one subscription serve all tasks? Then {@link review} has to be called. */
  get shares(): boolean {
    return this.#shared !== undefined;
  }

  /** Listens for one more task, which is not among the followed yet. Throws when it cannot. */
  add(taskId: string): void {
    const count = this.#options.followed.size + 1;
    if (count > this.#most) this.#most = count;
    if (this.#shared === undefined && count >= SHARE_FROM) this.#share();
    if (this.#shared === undefined) this.#listen(taskId);
  }

  /** Listens for the task no more. */
  remove(taskId: string): void {
    const own = this.#own.get(taskId);
    if (own === undefined) return;
    this.#own.delete(taskId);
    if (!this.#options.nc.isClosed()) own.unsubscribe();
  }

  /** Judges, once in a while, whether sharing still pays. */
  review(): void {
    const now = this.#options.clock.elapsed();
    if (this.#shared === undefined || now < this.#windowEndsMs) return;
    const tooMany = this.#others > OTHERS_MIN + OTHERS_PER_OWN * this.#ours;
    if (tooMany) this.#apartUntilMs = now + APART_MS;
    if (tooMany || this.#most < SHARE_TO) void this.#part(this.#shared);
    else this.#startWindow(now);
  }

  #startWindow(now: number): void {
    this.#windowEndsMs = now + WINDOW_MS;
    this.#most = this.#options.followed.size;
    this.#ours = 0;
    this.#others = 0;
  }

  #listen(taskId: string): void {
    const callback = (error: Error | null, message: Msg): void => {
      // Not allowed to listen: asking alone does it, more slowly.
      if (error === null) this.#options.onRecord(lastTokenOf(message.subject), message);
    };
    this.#own.set(taskId, this.#options.nc.subscribe(taskStateSubject(taskId), { callback }));
  }

  #share(): void {
    const { nc, clock } = this.#options;
    const now = clock.elapsed();
    if (now < this.#apartUntilMs) return;
    const shared = nc.subscribe(taskStateSubject("*"), {
      callback: (error, message) => {
        if (error === null) this.#hear(message);
        else this.#onDenied(shared);
      },
    });
    this.#shared = shared;
    this.#startWindow(now);
    void this.#dropOwn(shared);
  }

  #hear(message: Msg): void {
    if (this.#options.onRecord(lastTokenOf(message.subject), message)) this.#ours++;
    else this.#others++;
  }

  /** This user may follow single tasks at most: those that relied on sharing begin anew. */
  #onDenied(shared: Subscription): void {
    if (this.#shared !== shared) return;
    this.#shared = undefined;
    this.#apartUntilMs = Number.POSITIVE_INFINITY;
    this.#listenToEach();
    this.#options.onGap();
  }

  #listenToEach(): void {
    const { nc, followed } = this.#options;
    // At its end a connection takes no more subscriptions; whoever follows hears of that.
    if (nc.isClosed() || nc.isDraining()) return;
    for (const taskId of followed.keys())
      if (this.#own.get(taskId) === undefined) this.#listen(taskId);
  }

  /** Lets go of the tasks' own subscriptions, once the server has the shared one. */
  async #dropOwn(shared: Subscription): Promise<void> {
    // Without an answer they stay until their tasks end.
    if (!(await this.#serverHeard()) || this.#shared !== shared) return;
    const own = [...this.#own.values()];
    this.#own = new BriefMap();
    await Promise.all(own.map(drained));
  }

  /** Gives each task its own subscription, and lets go of the shared one once the server has those. */
  async #part(shared: Subscription): Promise<void> {
    this.#shared = undefined;
    this.#listenToEach();
    // Without an answer all are made again with the next link, at once.
    await this.#serverHeard();
    await drained(shared);
  }

  /** Resolves when the server has carried out what was sent to it; `false` when the link was lost. */
  #serverHeard(): Promise<boolean> {
    return this.#options.nc.flush().then(
      () => true,
      () => false,
    );
  }
}

/** Ends a subscription after what was sent to it has come. */
function drained(subscription: Subscription): Promise<void> {
  return subscription.drain().catch(() => undefined);
}
