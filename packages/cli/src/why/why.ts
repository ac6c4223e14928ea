/** `swarmctl why`: one question, one answer, and what it was concluded from. */
import { JetStreamApiError } from "@nats-io/jetstream";
import { isCapability, isTaskId, type TaskRecord } from "@swarm-mesh/protocol";
import { isoTime, systemClock } from "@swarm-mesh/runtime";
import {
  type Answer,
  KINDS,
  type Kind,
  type LaneFact,
  type MeshFacts,
  storeAway,
  whyCapability,
  whyNode,
  whyTask,
} from "@swarm-mesh/why";
import type { Call } from "../call.ts";
import { CliError, Exit, usageError } from "../exit.ts";
import { nodeIdArg, taskIdArg } from "../flags.ts";
import { readNodes } from "../node-records.ts";
import { type Paint, print } from "../output.ts";
import { type Session, withSession } from "../session.ts";
import { isWaiting, readEvent, readLetter, readMesh, readRecord } from "./gather.ts";
import { type Found, findQueued, mayReadQueue, readLanes } from "./queue.ts";

/** What is asked about. */
interface About {
  readonly kind: Kind;
  readonly id: string;
  /** Was only a name said, and the kind found out? */
  readonly guessed: boolean;
}

/** Answers one question and prints the answer. A name that nobody knows is an error of its own. */
export async function explain(call: Call): Promise<void> {
  const asked = readArgs(call.args);
  await withSession(call, "admin", async (session) => {
    const answered = await answerTo(session, asked);
    const at = isoTime(systemClock.now());
    const { about, answer } = answered;
    print(call.io, session.format, { about, at, ...answer }, () =>
      answerText(about, answer, session.paint),
    );
  });
}

/** The answer to one question, in lines: the sentence, then the evidence. */
export async function answerLines(
  session: Session,
  asked: Pick<About, "kind" | "id">,
): Promise<readonly string[]> {
  const { answer } = await answerTo(session, asked);
  return [answer.sentence, "", ...answer.evidence.map((each) => `- ${each}`)];
}

type Asked = Pick<About, "id"> & { readonly kind: Kind | undefined };

/** `task t1`, or a name alone. */
export function readArgs([first = "", second]: readonly string[]): Asked {
  const kind = KINDS.find((one) => one === first);
  if (second === undefined) {
    if (kind !== undefined) throw usageError(`why ${kind} needs the name of one`);
    if (isTaskId(first)) return { kind: undefined, id: first };
    throw usageError(
      `${JSON.stringify(first.slice(0, 80))} is no name: 1 to 64 of A-Z a-z 0-9 _ -`,
    );
  }
  switch (kind) {
    case "task":
      return { kind, id: taskIdArg(second) };
    case "node":
      return { kind, id: nodeIdArg(second) };
    case "capability":
      if (isCapability(second)) return { kind, id: second };
      throw usageError(`${JSON.stringify(second.slice(0, 80))} is no capability`);
    default:
      throw usageError(`${JSON.stringify(first.slice(0, 80))} is not one of ${KINDS.join(", ")}`);
  }
}

interface Answered {
  readonly about: About | undefined;
  readonly answer: Answer;
}

async function answerTo(session: Session, { kind, id }: Asked): Promise<Answered> {
  try {
    const about = kind === undefined ? await guess(session, id) : { kind, id, guessed: false };
    return { about, answer: await ANSWERS[about.kind](session, id) };
  } catch (error) {
    const problem = problemOfStore(error);
    if (problem === undefined) throw error;
    const { info } = session.nc;
    const server = {
      url: session.nc.getServer(),
      version: info?.version ?? "",
      cluster: info?.cluster,
    };
    const about = kind === undefined ? undefined : { kind, id, guessed: false };
    return {
      about,
      answer: storeAway({ ...server, jetstream: info?.jetstream === true, problem }),
    };
  }
}

const ANSWERS: Readonly<Record<Kind, (session: Session, id: string) => Promise<Answer>>> = {
  task: answerTask,
  node: answerNode,
  capability: answerCapability,
};

// ── What a name alone means ─────────────────────────────────────────────────────────────────────

/** A task before a node before a capability; the queue, which has no index, last. */
async function guess(session: Session, id: string): Promise<About> {
  const about = (kind: Kind): About => ({ kind, id, guessed: true });
  if ((await readRecord(session, id)) !== undefined) return about("task");
  const nodes = await readNodes(session);
  if (nodes.some((node) => node.id === id)) return about("node");
  if (nodes.some((node) => node.capabilities.includes(id))) return about("capability");
  const lanes = await lanesOf(session, id, undefined);
  if (lanes.length > 0) return about("capability");
  if ((await readLetter(session, id)) !== undefined) return about("task");
  if ((await readEvent(session, id)) !== undefined) return about("node");
  const { queued, search } = await find(session, id, undefined);
  // Who could not look everywhere cannot say that there is no such thing.
  if (queued !== undefined || !search.complete) return about("task");
  throw new CliError(
    Exit.notFound,
    "not_found",
    `no task, node or capability ${id} is known; \`swarmctl why task ${id}\` (or node, capability) says what was looked at`,
  );
}

// ── The three questions ─────────────────────────────────────────────────────────────────────────

async function answerTask(session: Session, id: string): Promise<Answer> {
  const [record, letter] = await Promise.all([readRecord(session, id), readLetter(session, id)]);
  const waits = record === undefined || record.status === "retrying";
  const { queued, search } = waits ? await find(session, id, record) : NOT_LOOKED_FOR;
  const capability = record?.capability ?? queued?.capability;
  const mesh = await readMesh(
    session,
    (node) => node.id === record?.node || node.capabilities.includes(capability ?? ""),
  );
  const lanes = waits && capability !== undefined ? await lanesOf(session, capability, mesh) : [];
  // What was read first may be old by now: a record that came meanwhile is the truth.
  const later = waits ? await readRecord(session, id) : record;
  return whyTask({ id, mesh, record: later, letter, queued, search, lanes });
}

const NOT_LOOKED_FOR: Found = {
  queued: undefined,
  search: { complete: false, lookedAt: 0, permitted: true },
};

async function answerNode(session: Session, id: string): Promise<Answer> {
  const [event, mesh] = await Promise.all([
    readEvent(session, id),
    readMesh(session, (node) => node.id === id),
  ]);
  return whyNode({ id, mesh, event });
}

async function answerCapability(session: Session, capability: string): Promise<Answer> {
  const mesh = await readMesh(session, (node) => node.capabilities.includes(capability));
  return whyCapability({ capability, mesh, lanes: await lanesOf(session, capability, mesh) });
}

async function lanesOf(
  session: Session,
  capability: string,
  mesh: MeshFacts | undefined,
): Promise<readonly LaneFact[]> {
  const manager = await session.manager();
  const mayRead = mesh !== undefined && (await mayReadQueue(manager));
  const waits = (id: string): Promise<boolean> => isWaiting(session, id);
  return readLanes(manager, capability, { running: mesh?.running, mayRead, isWaiting: waits });
}

async function find(session: Session, id: string, record: TaskRecord | undefined): Promise<Found> {
  const manager = await session.manager();
  if (!(await mayReadQueue(manager))) {
    return { queued: undefined, search: { complete: false, lookedAt: 0, permitted: false } };
  }
  return findQueued(manager, id, { record, budgetMs: session.target.timeoutMs });
}

// ── What is printed ─────────────────────────────────────────────────────────────────────────────

function answerText(about: About | undefined, answer: Answer, paint: Paint): string {
  const lines = [paint("bold", answer.sentence), ...answer.evidence.map((each) => `  - ${each}`)];
  if (about?.guessed === true) {
    const others = KINDS.filter((kind) => kind !== about.kind);
    const commands = others.map((kind) => `\`swarmctl why ${kind} ${about.id}\``).join(" or ");
    lines.push(paint("dim", `  (${about.id} was taken for a ${about.kind}; else ask ${commands})`));
  }
  return `${lines.join("\n")}\n`;
}

/** JetStream's error code: no leader, no quorum. */
const UNAVAILABLE = 10008;
/** Of the library's errors; NoRespondersError calls itself so. */
const AWAY = ["TimeoutError", "NoResponders", "JetStreamNotEnabled"];

/** What the store said, or did not, when it is the store that is away; `undefined`: it is not. */
export function problemOfStore(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if (error instanceof JetStreamApiError) {
    return error.code === UNAVAILABLE ? error.message : undefined;
  }
  if (error instanceof CliError) return error.code === "unavailable" ? error.message : undefined;
  const { cause } = error;
  const said = [error.name, cause instanceof Error ? cause.name : ""];
  return said.some((name) => AWAY.includes(name)) ? error.message : undefined;
}
