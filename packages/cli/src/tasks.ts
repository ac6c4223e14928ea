/** `swarmctl task get|wait|watch|cancel`. */
import type { TaskRecord, TaskStatus } from "@swarm-mesh/protocol";
import { systemClock, timeOf } from "@swarm-mesh/runtime";
import type { Call } from "./call.ts";
import { CliError, Exit } from "./exit.ts";
import { durationFlag, taskIdArg } from "./flags.ts";
import type { Io } from "./io.ts";
import {
  type Colour,
  cell,
  document,
  type Format,
  line,
  type Paint,
  pairs,
  print,
  span,
} from "./output.ts";
import { withSession } from "./session.ts";

export interface WaitFlags {
  readonly waitTimeout: string;
}

/** `task get`: one task's record. Ends with 3 when it has none. */
export async function getTask(call: Call): Promise<void> {
  const id = taskIdArg(call.args[0] ?? "");
  await withSession(call, "client", async ({ client, format, paint }) => {
    const record = await client.get(id);
    if (record === undefined) {
      throw new CliError(
        Exit.notFound,
        "not_found",
        `task ${id} has no record: it waits for a node, was never submitted, or ended over a day ago`,
      );
    }
    print(call.io, format, record, () => recordText(record, paint));
  });
}

/** Waits for a task's end and prints its result. */
export async function waitForTask(call: Call<WaitFlags>): Promise<number> {
  const id = taskIdArg(call.args[0] ?? "");
  const timeoutMs = durationFlag("--wait-timeout", call.flags.waitTimeout);
  return withSession(call, "client", async ({ client, format, paint }) => {
    const record = await client.wait(id, { timeoutMs, signal: call.io.interrupted() });
    return printEnd(record, call.io, { format, paint });
  });
}

/** Prints each change as a line until the task has ended. */
export async function watchTask(call: Call): Promise<number> {
  const id = taskIdArg(call.args[0] ?? "");
  return withSession(call, "client", async ({ client, format, paint }) => {
    let last: TaskRecord | undefined;
    for await (const record of client.watch(id, { signal: call.io.interrupted() })) {
      last = record;
      call.io.out(format === "table" ? changeText(record, paint) : line(record));
    }
    return last?.status === "succeeded" ? Exit.ok : Exit.error;
  });
}

/** `task cancel`: cancels it, and says what became of it. */
export async function cancelTask(call: Call): Promise<void> {
  const id = taskIdArg(call.args[0] ?? "");
  await withSession(call, "client", async ({ client, format, paint }) => {
    const record = await client.cancel(id);
    print(call.io, format, record, () => {
      if (record.status === "cancelled") return `${id} is ${paint("yellow", "cancelled")}\n`;
      return `${id} is ${statusText(record, paint)}; it had ended or is still stopping\n`;
    });
  });
}

/** Prints a final record: the result for people, all of it for programs. Returns the status. */
export function printEnd(
  record: TaskRecord,
  io: Io,
  { format, paint }: { readonly format: Format; readonly paint: Paint },
): number {
  const succeeded = record.status === "succeeded";
  if (format !== "table") print(io, format, record, () => "");
  else if (succeeded) io.out(valueText(record.result));
  else {
    const reason = record.error === null ? "" : `: ${record.error.message} (${record.error.code})`;
    io.err(`swarmctl: task ${record.id} ${statusText(record, paint)}${reason}\n`);
  }
  return succeeded ? Exit.ok : Exit.error;
}

const STATUS_COLOURS: Readonly<Record<TaskStatus, Colour>> = {
  running: "cyan",
  retrying: "yellow",
  succeeded: "green",
  failed: "red",
  cancelled: "yellow",
  rejected: "red",
};

/** A status, in its colour. */
export function statusText(record: TaskRecord, paint: Paint): string {
  return paint(STATUS_COLOURS[record.status], record.status);
}

/** How long the last try ran, or runs. */
export function took(task: TaskRecord): string {
  if (task.startedAt === null) return "-";
  const end = task.finishedAt === null ? systemClock.now() : timeOf(task.finishedAt);
  return span(end - timeOf(task.startedAt));
}

function recordText(task: TaskRecord, paint: Paint): string {
  const rows: (readonly [string, string])[] = [
    ["id", task.id],
    ["capability", `${task.capability} (${task.lane})`],
    ["status", statusText(task, paint)],
    ["try", `${task.attempt}; at most ${task.maxAttempts} may fail`],
    [
      "node",
      task.node === null ? "-" : `${task.node}${task.agent === null ? "" : `/${task.agent}`}`,
    ],
    ["submitted", task.submittedAt],
    ["started", task.startedAt ?? "-"],
    ["finished", task.finishedAt ?? "-"],
    ["took", took(task)],
  ];
  if (task.dueAt !== null) rows.push(["next try", task.dueAt]);
  if (task.progress !== undefined && task.progress !== null) {
    rows.push(["progress", cell(valueText(task.progress), 200)]);
  }
  for (const failed of task.tries) {
    const where = failed.node === null ? "" : ` on ${failed.node}`;
    rows.push([`try ${failed.attempt}`, `${failed.error.code}${where}: ${failed.error.message}`]);
  }
  for (const move of task.migrations) {
    rows.push(["moved", `${move.from} → ${move.to ?? "?"} at ${move.at} (${move.reason})`]);
  }
  if (task.error !== null) rows.push(["error", `${task.error.message} (${task.error.code})`]);
  const result = task.status === "succeeded" ? `\n${valueText(task.result)}` : "";
  return `${pairs(rows)}${result}`;
}

function changeText(task: TaskRecord, paint: Paint): string {
  const where = task.node === null ? "" : ` on ${task.node}`;
  const detail =
    task.error?.message ??
    (task.status === "succeeded"
      ? cell(valueText(task.result), 120)
      : task.progress === undefined || task.progress === null
        ? ""
        : cell(valueText(task.progress), 120));
  return `${statusText(task, paint)} try ${task.attempt}${where}${detail === "" ? "" : `: ${detail}`}\n`;
}

/** A result as people want it: text as it is, anything else as JSON. */
function valueText(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (typeof value !== "string") return document(value);
  return value.endsWith("\n") ? value : `${value}\n`;
}
