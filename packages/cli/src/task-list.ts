/** `swarmctl task list`. */
import { Capability, ListTasks, type TaskRecord, TaskStatus } from "@swarm-mesh/protocol";
import { systemClock, timeOf } from "@swarm-mesh/runtime";
import type { Call } from "./call.ts";
import { CliError, Exit, usageError } from "./exit.ts";
import { type Filter, type FilterFlags, filterOf } from "./filters.ts";
import { choiceFlag, countFlag, nodeIdArg } from "./flags.ts";
import type { Io } from "./io.ts";
import { ListWriter } from "./list-writer.ts";
import { cell, type Paint, span } from "./output.ts";
import { Progress } from "./progress.ts";
import { type Session, withSession } from "./session.ts";
import { findTasks, findWaiting, type Looked, type WaitingTask } from "./task-search.ts";
import { statusText, took } from "./tasks.ts";
import { repeatedly, type WatchFlags } from "./watching.ts";

export interface ListFlags extends WatchFlags, FilterFlags {
  readonly limit: string;
}

const LIMIT_MAX = 100_000;
const HEAD = ["ID", "CAPABILITY", "LANE", "STATUS", "TRY", "NODE", "AGE", "TOOK", "ERROR"];
/** The name of what has no record yet, beside the statuses of records. */
const WAITING = "waiting";
const PARTIAL_TEXT = "(older records were not looked at)\n";

/** `task list`: tasks that match, newest change first; those that wait, oldest first. */
export async function listTasks(call: Call<ListFlags>): Promise<void> {
  const { flags, io } = call;
  const limit = countFlag("--limit", flags.limit, { min: 1, max: LIMIT_MAX });
  const waiting = flags.status === WAITING;
  if (flags.status !== undefined && !waiting) {
    choiceFlag("--status", flags.status, [WAITING, ...TaskStatus.options]);
  }
  // Each look at a list that is watched counts ages anew.
  const filter = (): Filter => filterOf(waiting ? { ...flags, status: undefined } : flags);
  filter();
  await withSession(call, "admin", async (session) => {
    await repeatedly(io, session.format, flags.watch === true, async (shown) => {
      const writer = new ListWriter<TaskRecord | WaitingTask>(shown, session.format, {
        name: "tasks",
        what: "such tasks",
        head: HEAD,
        row: (task) => rowOf(task, session.paint),
        none: waiting ? "no task waits for its first try" : "no tasks with a record",
        limit,
      });
      let partial = false;
      const source = isClient(session)
        ? listByService(session, flags, () => {
            partial = true;
          })
        : listByStore(session, filter(), { waiting, io });
      for await (const task of source) if (!writer.add(task)) break;
      writer.end(partial ? PARTIAL_TEXT : false);
    });
  });
}

/** A client may not read the store: what a coordinator answers is all it is told. */
function isClient({ target }: Session): boolean {
  return target.inboxPrefix === "_INBOX_client";
}

async function* listByStore(
  session: Session,
  filter: Filter,
  { waiting, io }: { readonly waiting: boolean; readonly io: Io },
): AsyncGenerator<TaskRecord | WaitingTask> {
  const manager = await session.manager();
  const progress = new Progress(io, session.format, "versions of records looked at");
  let found = 0;
  const onLooked = (looked: Looked): void => progress.tell({ ...looked, note: `${found} found` });
  const tasks = waiting
    ? findWaiting(manager, filter, onLooked)
    : findTasks(manager, filter, onLooked);
  try {
    for await (const task of tasks) {
      found++;
      yield task;
    }
  } finally {
    progress.clear();
  }
}

async function* listByService(
  session: Session,
  flags: ListFlags,
  onPartial: () => void,
): AsyncGenerator<TaskRecord> {
  const { olderThan, newerThan, error, search } = flags;
  if (
    [olderThan, newerThan, error, search].some((flag) => flag !== undefined) ||
    flags.status === WAITING
  ) {
    throw new CliError(
      Exit.denied,
      "denied",
      "a client's key lists by --status, --capability and --node alone; for more use the viewer's or the admin's key",
    );
  }
  const { tasks, complete } = await session.client.list(serviceFilter(flags));
  if (!complete) onPartial();
  yield* tasks;
}

/** What a coordinator is asked for. It gives at most so many. */
export function serviceFilter({ status, capability, node, limit }: ListFlags): Partial<ListTasks> {
  const limitMax = ListTasks.shape.limit.unwrap().maxValue ?? 1_000;
  if (capability !== undefined && !Capability.safeParse(capability).success) {
    throw usageError(`--capability ${JSON.stringify(capability)} is no capability`);
  }
  return {
    ...(status === undefined ? {} : { status: choiceFlag("--status", status, TaskStatus.options) }),
    ...(capability === undefined ? {} : { capability }),
    ...(node === undefined ? {} : { node: nodeIdArg(node) }),
    // One more than is shown, so that it is known whether there are more.
    limit: Math.min(limitMax, Number(limit) + 1),
  };
}

function rowOf(task: TaskRecord | WaitingTask, paint: Paint): readonly string[] {
  const age = span(systemClock.now() - timeOf(task.submittedAt));
  const first = [task.id, cell(task.capability, 32), task.lane];
  if (task.status === "waiting") return [...first, "waiting", "-", "-", age, "-", ""];
  const record = task as TaskRecord;
  return [
    ...first,
    statusText(record, paint),
    String(record.attempt),
    record.node ?? "-",
    age,
    took(record),
    cell(record.error?.message ?? ""),
  ];
}
