/** Stands in for the services: answers for records that a test writes into the real bucket. */
import { Bucket } from "@swarm-mesh/bus";
import {
  cancelSubject,
  decode,
  encode,
  getSubject,
  isFinal,
  kvSubject,
  LIST_SUBJECT,
  lastTokenOf,
  REGISTRY_FIND_SUBJECT,
  REGISTRY_LIST_SUBJECT,
  TASKS_BUCKET,
  TaskRecord,
  wireError,
} from "@swarm-mesh/protocol";
import type { Deps } from "@swarm-mesh/testkit";

export function recordOf(fields: Partial<TaskRecord> & { readonly id: string }): TaskRecord {
  return {
    capability: "echo",
    lane: "normal",
    status: "running",
    attempt: 1,
    maxAttempts: 3,
    node: "n1",
    agent: "main",
    incarnation: 1,
    epoch: 1,
    submittedAt: "2026-01-01T00:00:00.000Z",
    startedAt: "2026-01-01T00:00:01.000Z",
    finishedAt: null,
    progress: null,
    result: null,
    error: null,
    migrations: [],
    tries: [],
    dueAt: null,
    trace: null,
    ...fields,
  };
}

export class MeshDouble {
  readonly #deps: Deps;
  readonly #bucket: Bucket;
  readonly #stops: (() => void)[] = [];
  /** Subjects of the requests that came. */
  readonly asked: string[] = [];
  /** How many of the next requests are answered `not_leader`. */
  refusals = 0;

  constructor(deps: Deps) {
    this.#deps = deps;
    this.#bucket = new Bucket(TASKS_BUCKET, deps.manager, deps.requester);
  }

  /** Starts to answer; before that nobody does. */
  answer(): void {
    this.#on(getSubject("*"), async (id) => (await this.#read(id)) ?? notFound(id));
    this.#on(cancelSubject("*"), (id) => this.#cancel(id));
    this.#on(LIST_SUBJECT, async () => ({ tasks: [recordOf({ id: "t1" })], complete: true }));
    this.#on(REGISTRY_LIST_SUBJECT, async () => ({ nodes: [] }));
    this.#on(REGISTRY_FIND_SUBJECT, async () => ({ nodes: "nonsense" }));
  }

  silence(): void {
    for (const stop of this.#stops.splice(0)) stop();
  }

  /** Writes a record, which the server republishes. */
  async write(record: TaskRecord): Promise<void> {
    const subject = kvSubject(TASKS_BUCKET.name, record.id);
    await this.#deps.requester.stored(subject, encode(record));
  }

  #on(subject: string, reply: (id: string) => Promise<unknown>): void {
    const subscription = this.#deps.nc.subscribe(subject, {
      callback: (_error, message) => {
        this.asked.push(message.subject);
        if (this.refusals > 0) {
          this.refusals--;
          message.respond(encode({ error: wireError("not_leader", "not yet", true) }));
          return;
        }
        void reply(lastTokenOf(message.subject)).then((value) => message.respond(encode(value)));
      },
    });
    this.#stops.push(() => subscription.unsubscribe());
  }

  async #cancel(id: string): Promise<unknown> {
    const record = await this.#read(id);
    if (record === undefined) return notFound(id);
    if (isFinal(record.status)) return record;
    const error = wireError("cancelled", "cancelled on request");
    const cancelled = { ...record, status: "cancelled" as const, error };
    await this.write(cancelled);
    return cancelled;
  }

  async #read(id: string): Promise<TaskRecord | undefined> {
    const entry = await this.#bucket.read(id);
    const record = entry?.value === undefined ? undefined : decode(TaskRecord, entry.value);
    return record?.ok === true ? record.value : undefined;
  }
}

function notFound(id: string): object {
  return { error: wireError("not_found", `no task ${id}`) };
}
