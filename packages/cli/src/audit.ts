/** `swarmctl audit list|export|verify`: who did what, and whether that is still what was written. */
import { createReadStream } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { DeliverPolicy, jetstream } from "@nats-io/jetstream";
import {
  type AuditAnchor,
  type AuditLine,
  type AuditVerdict,
  AuditVerifier,
} from "@swarm-mesh/bus";
import { AUDIT_ALL, AuditEntry, auditSubject, decode, MESH_AUDIT } from "@swarm-mesh/protocol";
import { isoTime, systemClock } from "@swarm-mesh/runtime";
import type { Call } from "./call.ts";
import { CliError, Exit, usageError } from "./exit.ts";
import { countFlag, durationFlag } from "./flags.ts";
import type { Io } from "./io.ts";
import { cell, line, print, table } from "./output.ts";
import { type Session, withSession } from "./session.ts";
import { outputOf } from "./target.ts";

export interface AuditListFlags {
  readonly limit: string;
  readonly action?: string;
  readonly since?: string;
}

export interface AuditVerifyFlags {
  readonly file?: string;
  readonly fromAnchor?: string;
}

const LIMIT_MAX = 10_000;
const READ_AT_ONCE = 500;

/** Prints the newest entries, oldest of them first. */
export async function listAudit(call: Call<AuditListFlags>): Promise<void> {
  const { limit, action = ">", since } = call.flags;
  const most = countFlag("--limit", limit, { min: 1, max: LIMIT_MAX });
  if (!/^([a-z_]+|[a-z_]+\.[a-z_]+|>)$/.test(action)) {
    throw usageError(
      `--action ${JSON.stringify(action.slice(0, 80))} is not like node or node.drain`,
    );
  }
  const subject = auditSubject(action === ">" || action.includes(".") ? action : `${action}.*`);
  const sinceMs = since === undefined ? undefined : durationFlag("--since", since);
  await withSession(call, "admin", async (session) => {
    const newest: AuditEntry[] = [];
    for await (const { text } of readStream(session, { subject, sinceMs, last: most })) {
      const entry = decode(AuditEntry, Buffer.from(text));
      if (entry.ok) newest.push(entry.value);
      if (newest.length > most) newest.shift();
    }
    if (session.format === "jsonl") return call.io.out(newest.map(line).join(""));
    print(call.io, session.format, { entries: newest }, () => listText(newest));
  });
}

/** Writes every entry as it is stored, one a line. */
export async function exportAudit(call: Call): Promise<void> {
  await withSession(call, "admin", async (session) => {
    for await (const { text } of readStream(session, { subject: AUDIT_ALL }))
      call.io.out(`${text}\n`);
  });
}

/** Looks at the whole trail, here or in a file. Ends with 1 when something is wrong with it. */
export async function verifyAudit(call: Call<AuditVerifyFlags>): Promise<number> {
  const format = outputOf(call.globals);
  const { file, fromAnchor } = call.flags;
  const anchor = fromAnchor === undefined ? undefined : anchorOf(fromAnchor);
  const verdict =
    file === undefined
      ? await withSession(call, "admin", (session) => verifyStream(session, anchor))
      : await verifyFile(file === "-" ? undefined : resolve(call.io.cwd, file), call.io, anchor);
  const whole = verdict.problemCount === 0;
  const head = `${verdict.head.seq}:${verdict.head.hash}`;
  if (format !== "table") call.io.out(line({ whole, ...verdict, anchor: head }));
  else call.io.out(verdictText(verdict, head));
  return whole ? Exit.ok : Exit.error;
}

async function verifyStream(session: Session, anchor?: AuditAnchor): Promise<AuditVerdict> {
  const { state } = await (await session.manager()).streams.info(MESH_AUDIT.name);
  const verifier = new AuditVerifier(anchor);
  // What is written while we read is for the next look.
  for await (const entry of readStream(session, { subject: AUDIT_ALL, upTo: state.last_seq })) {
    verifier.add(entry);
  }
  return verifier.finish(state.last_seq);
}

async function verifyFile(
  path: string | undefined,
  io: Io,
  anchor?: AuditAnchor,
): Promise<AuditVerdict> {
  const verifier = new AuditVerifier(anchor);
  const lines =
    path === undefined
      ? Buffer.from(await io.readStdin())
          .toString()
          .split("\n")
      : createInterface({ input: await opened(path) });
  for await (const text of lines) if (text !== "") verifier.add({ text });
  return verifier.finish();
}

async function opened(path: string): Promise<NodeJS.ReadableStream> {
  const stream = createReadStream(path);
  await new Promise<void>((done, fail) => {
    stream.once("open", () => done());
    stream.once("error", (error) => {
      fail(new CliError(Exit.notFound, "not_found", `the trail cannot be read: ${error.message}`));
    });
  });
  return stream;
}

/** `<seq>:<hash>`, as `audit verify` prints it. */
function anchorOf(text: string): AuditAnchor {
  const [seq = "", hash = ""] = text.split(":");
  if (/^\d{1,15}$/.test(seq) && /^[0-9a-f]{64}$/.test(hash)) return { seq: Number(seq), hash };
  throw usageError("--from-anchor is not like 4711:<64 of 0-9 a-f>, which `audit verify` prints");
}

interface Reading {
  readonly subject: string;
  /** No older ones. */
  readonly sinceMs?: number | undefined;
  /** No more than so many of the newest can be wanted, when all subjects are. */
  readonly last?: number;
  /** Up to this place; default as far as the stream has come. */
  readonly upTo?: number;
}

/** Entries in the order in which they are stored, those there are now. */
async function* readStream(session: Session, reading: Reading): AsyncGenerator<AuditLine> {
  const { subject, sinceMs, last } = reading;
  const { state } = await (await session.manager()).streams.info(MESH_AUDIT.name);
  const end = reading.upTo ?? state.last_seq;
  if (state.messages === 0) return;
  const first = last === undefined || subject !== AUDIT_ALL ? 1 : Math.max(1, end - last + 1);
  const start =
    sinceMs === undefined
      ? { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: first }
      : {
          deliver_policy: DeliverPolicy.StartTime,
          opt_start_time: isoTime(systemClock.now() - sinceMs),
        };
  const consumer = await jetstream(session.nc).consumers.get(MESH_AUDIT.name, {
    ...start,
    filter_subjects: [subject],
  });
  let left = (await consumer.info()).num_pending;
  while (left > 0) {
    const batch = await consumer.fetch({
      max_messages: Math.min(left, READ_AT_ONCE),
      expires: Math.max(1_000, session.target.timeoutMs),
    });
    let read = 0;
    for await (const message of batch) {
      read++;
      left = message.info.pending;
      if (message.seq > end) return;
      yield { text: message.string(), seq: message.seq, subject: message.subject };
    }
    if (read === 0) {
      throw new CliError(Exit.timeout, "unavailable", "the trail could not be read in time");
    }
  }
}

function listText(entries: readonly AuditEntry[]): string {
  if (entries.length === 0) return "no entries\n";
  const head = ["SEQ", "AT", "ACTION", "TARGET", "WHO", "BY", "WHAT"];
  const rows = entries.map((entry) => [
    String(entry.seq),
    entry.at.slice(0, 19).replace("T", " "),
    entry.action,
    cell(entry.target || "-", 32),
    cell(whoText(entry.who), 40),
    entry.by,
    cell([entry.reason, detailText(entry)].filter((text) => text !== "").join("; "), 70),
  ]);
  return table(head, rows);
}

function whoText({ name, user, account }: AuditEntry["who"]): string {
  const key = user === undefined ? "" : `${user.slice(0, 9)}…`;
  return [name, key, account].filter((part) => part !== undefined && part !== "").join(" ") || "-";
}

function detailText({ action, details }: AuditEntry): string {
  const kinds = details[action === "leader.elected" ? "recovered" : "tasks"];
  if (!Array.isArray(kinds)) {
    return Object.entries(details)
      .map(
        ([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`,
      )
      .join(" ");
  }
  return kinds
    .map(({ capability, count, ids, signer }) => {
      const some = Array.isArray(ids) ? ids.slice(0, 3).join(", ") : "";
      const signed = typeof signer === "string" ? ` signed by ${signer.slice(0, 9)}…` : "";
      return `${count} ${capability}${signed}: ${some}${count > 3 ? ", …" : ""}`;
    })
    .join("; ");
}

function verdictText(verdict: AuditVerdict, head: string): string {
  const { entries, first, head: last, problems, problemCount } = verdict;
  if (problemCount === 0) {
    const what = entries === 0 ? "no entries" : `entries ${first} to ${last.seq}: whole`;
    return `${what}\nanchor ${head}\n`;
  }
  const lines = problems.map(({ seq, kind, text }) => `entry ${seq}: ${kind}: ${text}\n`);
  const more = problemCount - problems.length;
  const rest = more > 0 ? `and ${more} more\n` : "";
  return `${entries} entries, ${problemCount === 1 ? "1 problem" : `${problemCount} problems`}\n${lines.join("")}${rest}`;
}
