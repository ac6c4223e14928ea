/** `swarmctl events`: what happened to nodes and leaders, and what happens. */
import {
  type ConsumerMessages,
  DeliverPolicy,
  type JetStreamManager,
  type JsMsg,
  jetstream,
} from "@nats-io/jetstream";
import { watchForgetting } from "@swarm-mesh/bus";
import {
  decode,
  EVENTS_ALL,
  LeaderEvent,
  looseValue,
  MESH_EVENTS,
  NodeEvent,
  tokenOf,
} from "@swarm-mesh/protocol";
import { isoTime, systemClock, timeOf } from "@swarm-mesh/runtime";
import type { Call } from "./call.ts";
import { usageError } from "./exit.ts";
import { ageFlag, countFlag, nodeIdArg } from "./flags.ts";
import { ListWriter } from "./list-writer.ts";
import { type Colour, cell, line, type Paint } from "./output.ts";
import { type Session, withSession } from "./session.ts";
import { newestFirst } from "./stored.ts";

export interface EventsFlags {
  readonly follow?: boolean;
  readonly since?: string;
  readonly node?: string;
  readonly kind?: readonly string[];
  readonly limit?: string;
}

/** An event as it is stored. */
export interface StoredEvent {
  readonly seq: number;
  readonly at: string;
  /** `node` or `leader`, or what a later version tells of. */
  readonly about: string;
  /** The node, or the service. */
  readonly who: string;
  /** `joined`, `failed`, `elected`, … */
  readonly kind: string;
  readonly event: unknown;
}

const LIMIT_DEFAULT = 50;
const LIMIT_MAX = 100_000;
/** Events that are shown of what was before, by one who follows. */
const TAIL = 10;
/** Of a millisecond. */
const NANOS = 1_000_000;
/** Before a consumer that ended is made again. */
const AGAIN_MS = 500;
/** A consumer that says nothing for twice as long is made anew. */
const HEARTBEAT_MS = 2_000;

/**
 * `events`: the last ones, or those since a time; with `-f` what happens from then on, without a
 * gap.
 */
export async function showEvents(call: Call<EventsFlags>): Promise<void> {
  const { flags, io } = call;
  const wanted = wantedOf(flags);
  const from = flags.since === undefined ? undefined : sinceFlag(flags.since);
  const follow = flags.follow === true;
  const limit = countFlag("--limit", flags.limit ?? String(defaultLimit(flags)), {
    min: 0,
    max: LIMIT_MAX,
  });
  await withSession(call, "admin", async (session) => {
    const manager = await session.manager();
    const { state } = await manager.streams.info(MESH_EVENTS.name);
    const before = await readBefore(manager, { wanted, from, limit, last: state.last_seq });
    if (!follow) {
      printList(call, session, before);
      return;
    }
    const show = (event: StoredEvent): void =>
      io.out(session.format === "table" ? `${eventLine(event, session.paint)}\n` : line(event));
    for (const event of before.events) show(event);
    await followEvents(session, state.last_seq + 1, io.interrupted(), (event) => {
      if (wanted(event)) show(event);
    });
  });
}

/** Who says since when wants all of it. */
function defaultLimit({ follow, since }: EventsFlags): number {
  if (since !== undefined) return LIMIT_MAX;
  return follow === true ? TAIL : LIMIT_DEFAULT;
}

type Wanted = (event: StoredEvent) => boolean;

function wantedOf({ node, kind }: EventsFlags): Wanted {
  const id = node === undefined ? undefined : nodeIdArg(node);
  const kinds = kind?.flatMap((text) => text.split(","));
  return (event) =>
    (id === undefined || (event.about === "node" && event.who === id)) &&
    (kinds === undefined || kinds.includes(event.kind));
}

/** An age, `2h`, or a time, `2026-11-21T11:00:00Z`; in ms since the epoch. */
function sinceFlag(text: string): number {
  const ms = /^\d{4}-/.test(text) ? timeOf(text) : systemClock.now() - ageFlag("--since", text);
  if (!Number.isNaN(ms)) return ms;
  throw usageError(`--since ${JSON.stringify(text.slice(0, 80))} is no time: 2026-11-21T11:00:00Z`);
}

interface Before {
  readonly wanted: Wanted;
  /** Since when; `undefined`: as far back as the limit reaches. */
  readonly from: number | undefined;
  readonly limit: number;
  readonly last: number;
}

/** The last events up to now, oldest first, and whether there are more than were asked for. */
async function readBefore(manager: JetStreamManager, { wanted, from, limit, last }: Before) {
  const events: StoredEvent[] = [];
  let complete = true;
  const all = { stream: MESH_EVENTS.name, subject: EVENTS_ALL, to: last };
  for await (const message of newestFirst(manager, all)) {
    if (from !== undefined && message.time.getTime() < from) break;
    const { seq, subject, data, time } = message;
    const event = eventOf({ seq, subject, data, atMs: time.getTime() });
    if (!wanted(event)) continue;
    if (events.length >= limit) {
      complete = false;
      break;
    }
    events.push(event);
  }
  return { events: events.reverse(), complete, limit };
}

/** The last so many events, oldest first. */
export async function lastEvents(
  manager: JetStreamManager,
  limit: number,
): Promise<readonly StoredEvent[]> {
  const { state } = await manager.streams.info(MESH_EVENTS.name);
  const all = { wanted: () => true, from: undefined, limit, last: state.last_seq };
  return (await readBefore(manager, all)).events;
}

function printList(
  call: Call<EventsFlags>,
  session: Session,
  { events, complete, limit }: Awaited<ReturnType<typeof readBefore>>,
): void {
  const { io } = call;
  if (session.format === "table") {
    const lines = events.map((event) => `${eventLine(event, session.paint)}\n`).join("");
    const more = complete
      ? ""
      : `(there are more than these ${limit}: --limit shows more of them)\n`;
    io.out(lines === "" ? "no events\n" : `${more}${lines}`);
    return;
  }
  const writer = new ListWriter<StoredEvent>(io, session.format, {
    ...{ name: "events", what: "events", none: "", head: [], row: () => [] },
    limit,
  });
  for (const event of events) writer.add(event);
  writer.end(!complete);
}

/**
 * Hands out every event from a place on, in order and without gaps, until `signal` aborts. The place
 * is kept here: whatever becomes of a consumer, the next one begins where it ended. It is made anew
 * when it may be gone with a server.
 */
export async function followEvents(
  session: Session,
  place: number,
  signal: AbortSignal,
  onEvent: (event: StoredEvent) => void,
): Promise<void> {
  let next = place;
  let again = new AbortController();
  const watching = watchForgetting(session.nc, () => again.abort(), signal);
  while (!signal.aborted) {
    again = new AbortController();
    try {
      for await (const message of messagesFrom(
        session,
        next,
        AbortSignal.any([signal, again.signal]),
      )) {
        const { seq, subject, data, info } = message;
        if (seq < next) continue;
        next = seq + 1;
        onEvent(eventOf({ seq, subject, data, atMs: info.timestampNanos / NANOS }));
      }
    } catch (error) {
      if (session.nc.isClosed() && !signal.aborted) throw error;
    }
    await systemClock.sleep(AGAIN_MS, signal);
  }
  await watching;
}

/** What an ordered consumer delivers from a place on, until `signal` aborts or it ends by itself. */
async function* messagesFrom(
  session: Session,
  place: number,
  signal: AbortSignal,
): AsyncGenerator<JsMsg> {
  const consumer = await jetstream(session.nc).consumers.get(MESH_EVENTS.name, {
    filter_subjects: EVENTS_ALL,
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: place,
  });
  const messages = await consumer.consume({ idle_heartbeat: HEARTBEAT_MS });
  const stop = (): void => messages.stop();
  void stopWhenSilent(messages);
  signal.addEventListener("abort", stop, { once: true });
  try {
    if (!signal.aborted) yield* messages;
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
  }
}

/** A consumer that went with its server in a cluster would be asked for until that server is back. */
async function stopWhenSilent(messages: ConsumerMessages): Promise<void> {
  for await (const { type } of messages.status()) {
    if (type === "heartbeats_missed") messages.stop();
  }
}

function eventOf(message: {
  readonly seq: number;
  readonly subject: string;
  readonly data: Uint8Array;
  readonly atMs: number;
}): StoredEvent {
  const event = looseValue(message.data);
  const about = tokenOf(message.subject, 2);
  const leader = about === "leader" ? decode(LeaderEvent, message.data) : undefined;
  return {
    seq: message.seq,
    at: isoTime(message.atMs),
    about,
    who: tokenOf(message.subject, 3),
    kind: leader?.ok === true ? leader.value.kind : message.subject.split(".").slice(4).join("."),
    event,
  };
}

const KIND_COLOURS: Readonly<Record<string, Colour>> = {
  joined: "green",
  recovered: "green",
  elected: "green",
  degraded: "yellow",
  leaving: "yellow",
  resigned: "yellow",
  failed: "red",
  lost: "red",
  left: "dim",
};

/** An event in a line: `2026-11-21 12:03:05.120  node n3 failed: connection closed (ACTIVE → FAILED, health-monitor-1)`. */
export function eventLine({ at, about, who, kind, event }: StoredEvent, paint: Paint): string {
  const when = paint("dim", at.replace("T", " ").replace("Z", ""));
  const what = paint(KIND_COLOURS[kind] ?? "cyan", kind);
  const body = Buffer.from(typeof event === "string" ? event : line(event));
  const node = about === "node" ? decode(NodeEvent, body) : undefined;
  if (node?.ok === true) {
    const { from, to, reason, by, incarnation } = node.value;
    return `${when}  node ${who} ${what}: ${cell(reason, 200)} (${from} → ${to}, life ${incarnation}, says ${by})`;
  }
  const leader = about === "leader" ? decode(LeaderEvent, body) : undefined;
  if (leader?.ok === true) {
    return `${when}  ${who} leader ${what}: ${leader.value.instance}, epoch ${leader.value.epoch}`;
  }
  return `${when}  ${about} ${who} ${what} ${cell(body.toString(), 200)}`.trimEnd();
}
