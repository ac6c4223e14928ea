/** `swarmctl dead list|show`: tasks that were given up, one by one or by how they ended. */
import { encode, looseValue, SUBMIT_HEADERS } from "@swarm-mesh/protocol";
import { systemClock, timeOf } from "@swarm-mesh/runtime";
import type { Call } from "./call.ts";
import {
  type DeadLetter,
  errorOf,
  type LetterGroup,
  LetterGroups,
  newestLetters,
  readLetter,
  triesOf,
} from "./dead-letters.ts";
import { type FilterFlags, filterOf } from "./filters.ts";
import { countFlag, taskIdArg } from "./flags.ts";
import { ListWriter } from "./list-writer.ts";
import { cell, document, pairs, print, span, table } from "./output.ts";
import { Progress } from "./progress.ts";
import { withSession } from "./session.ts";

export interface DeadListFlags extends FilterFlags {
  readonly limit: string;
  readonly group?: boolean;
}

const LIMIT_MAX = 100_000;

/** `dead list`: letters newest first, or with `--group` how often each way to end. */
export async function listDead(call: Call<DeadListFlags>): Promise<void> {
  const limit = countFlag("--limit", call.flags.limit, { min: 1, max: LIMIT_MAX });
  const filter = filterOf(call.flags);
  await withSession(call, "admin", async ({ format, manager }) => {
    const progress = new Progress(call.io, format, "dead letters found");
    let done = 0;
    const found = async function* () {
      for await (const letter of newestLetters(await manager(), filter)) {
        progress.tell({ done: ++done });
        yield letter;
      }
    };
    if (call.flags.group === true) {
      const groups = new LetterGroups();
      for await (const letter of found()) groups.add(letter);
      progress.clear();
      const value = { groups: groups.all() };
      print(call.io, format, value, () => groupsText(value.groups));
      return;
    }
    const writer = new ListWriter<DeadLetter>(call.io, format, {
      name: "dead",
      what: "dead letters",
      head: ["SEQ", "TASK", "CAPABILITY", "STATUS", "TRIES", "AGE", "BYTES", "ERROR"],
      row: rowOf,
      none: "no dead letters",
      limit,
      json: shown,
    });
    for await (const letter of found()) if (!writer.add(letter)) break;
    progress.clear();
    writer.end();
  });
}

/** Prints one letter: headers, body, every try and its error. */
export async function showDead(call: Call): Promise<void> {
  const id = taskIdArg(call.args[0] ?? "");
  await withSession(call, "admin", async ({ format, manager }) => {
    const letter = await readLetter(await manager(), id);
    const value = { ...shown(letter), body: looseValue(letter.body) };
    print(call.io, format, value, () => letterText(letter));
  });
}

/** A letter for programs; the body alone is left to `show`. */
function shown({ body, headers, ...letter }: DeadLetter): object {
  const submitHeaders = SUBMIT_HEADERS.filter((name) => headers[name] !== undefined);
  return {
    ...letter,
    headers: Object.fromEntries(submitHeaders.map((name) => [name, headers[name]])),
    bodyBytes: body.length,
  };
}

function rowOf(letter: DeadLetter): readonly string[] {
  return [
    String(letter.seq),
    letter.task,
    cell(letter.capability, 32),
    letter.status,
    String(triesOf(letter).length),
    span(systemClock.now() - timeOf(letter.at)),
    String(letter.body.length),
    cell(errorText(letter)),
  ];
}

/** A table of groups, the largest first. */
export function groupsText(groups: readonly LetterGroup[]): string {
  if (groups.length === 0) return "no dead letters\n";
  const nowMs = systemClock.now();
  const ago = (at: string): string => span(nowMs - timeOf(at));
  const rows = groups.map((group) => [
    String(group.count),
    group.code === "" ? "-" : group.code,
    cell(group.shape, 60),
    cell(group.capabilities.join(","), 32),
    ago(group.first),
    ago(group.last),
    group.example,
  ]);
  return table(["COUNT", "CODE", "MESSAGE", "CAPABILITIES", "FIRST", "LAST", "EXAMPLE"], rows);
}

function letterText(letter: DeadLetter): string {
  const rows: (readonly [string, string])[] = [
    ["task", letter.task],
    ["capability", `${letter.capability} (${letter.lane})`],
    ["status", letter.status],
    ["submitted", letter.submittedAt],
    ["given up", `${letter.at} (letter ${letter.seq})`],
    ["error", errorText(letter)],
  ];
  for (const name of SUBMIT_HEADERS) {
    const value = letter.headers[name];
    if (value !== undefined) rows.push([name, value]);
  }
  const tries = triesOf(letter);
  for (const { attempt, node, at, error } of tries) {
    const where = node === null ? "" : ` on ${node}`;
    rows.push([`try ${attempt}`, `${error.code}${where} at ${at}: ${cell(error.message, 400)}`]);
  }
  // Cut where it was too long, it is text that no longer reads as tries.
  if (tries.length === 0 && letter.tries !== null)
    rows.push(["tries", cell(encode(letter.tries), 400)]);
  const body = looseValue(letter.body);
  const text = typeof body === "string" ? `${body.trimEnd()}\n` : document(body);
  return `${pairs(rows)}\nbody, ${letter.body.length} bytes:\n${text}`;
}

function errorText(letter: DeadLetter): string {
  const error = errorOf(letter);
  if (error !== undefined) return `${error.message} (${error.code})`;
  return letter.error === null ? "-" : String(letter.error);
}
