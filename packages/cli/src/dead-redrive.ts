/**
 * `swarmctl dead retry|purge`: tasks that were given up run again, or are forgotten.
 *
 * A letter goes when its task is stored again, and not before: who dies between the two leaves a
 * letter whose next retry is of the same id, and so no second task.
 */
import { setMaxListeners } from "node:events";
import { JetStreamApiError, type JetStreamManager } from "@nats-io/jetstream";
import { MESH_DEAD } from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";
import type { Call } from "./call.ts";
import { groupsText } from "./dead.ts";
import {
  type DeadLetter,
  findLetter,
  LetterGroups,
  noLetterText,
  type Selection,
  select,
  submitAgain,
} from "./dead-letters.ts";
import { CliError, Exit, usageError } from "./exit.ts";
import { type FilterFlags, filterOf, isOpen } from "./filters.ts";
import { countFlag, rateFlag, taskIdArg } from "./flags.ts";
import { operate } from "./operate.ts";
import { line, print } from "./output.ts";
import { Pace } from "./pace.ts";
import { Progress } from "./progress.ts";
import { type Session, type SessionOptions, withSession } from "./session.ts";

interface ManyFlags extends FilterFlags {
  readonly all?: boolean;
  readonly limit?: string;
  readonly dryRun?: boolean;
  readonly reason?: string;
}

export interface DeadRetryFlags extends ManyFlags {
  readonly rate?: string;
  readonly to?: string;
  readonly signWith?: string;
}

export interface DeadPurgeFlags extends ManyFlags {
  readonly yes?: boolean;
}

const LIMIT_MAX = 10_000_000;
/** Letters in work at once: each costs two round trips. */
const IN_WORK_MAX = 32;
/** JetStream's error code. */
const NO_MESSAGE = 10043;

/** What became of a letter. */
interface Done {
  readonly letter: DeadLetter;
  /** Of the new task, and whether it was stored before. */
  readonly id?: string;
  readonly duplicate?: boolean;
  readonly capability?: string;
  readonly error?: string;
}

/**
 * Submits the letters' tasks again, each under an id that names its origin, and prints what it did. A
 * signature was for the old id, so they are signed again or not at all.
 */
export async function retryDead(call: Call<DeadRetryFlags>): Promise<number> {
  const { flags } = call;
  const rate = flags.rate === undefined ? undefined : rateFlag("--rate", flags.rate);
  const { signWith } = flags;
  const work: Work = async (session, selection, manager) => {
    if (flags.dryRun === true) return tellOnly(call, session, selection, manager);
    const deed = { action: "dead.retry" as const, ...deedOf(call, selection) };
    const pace = new Pace(rate);
    return operate(session, deed, () =>
      forEachLetter(call, session, { selection, manager, done: "retried" }, async (letter) => {
        const capability = flags.to ?? letter.capability;
        if (capability === "") {
          return { letter, error: "it names no capability; give --to" };
        }
        await pace.turn(call.io.interrupted());
        if (call.io.interrupted().aborted) return undefined;
        const { capability: to, payload, ...options } = submitAgain(letter, capability);
        const { id, duplicate } = await session.client.submit(to, payload, options);
        await forget(manager, letter);
        return { letter, id, duplicate, capability: to };
      }),
    );
  };
  return withSelection(call, work, { signWith });
}

/** Deletes letters for good, once somebody has said yes. */
export async function purgeDead(call: Call<DeadPurgeFlags>): Promise<number> {
  const { flags, io } = call;
  return withSelection(call, async (session, selection, manager) => {
    if (flags.dryRun === true) return tellOnly(call, session, selection, manager);
    if (flags.yes !== true) await requireYes(call, selection, manager);
    const deed = { action: "dead.purge" as const, ...deedOf(call, selection) };
    return operate(session, deed, () =>
      forEachLetter(call, session, { selection, manager, done: "purged" }, async (letter) => {
        if (io.interrupted().aborted) return undefined;
        await forget(manager, letter);
        return { letter };
      }),
    );
  });
}

type Work = (session: Session, selection: Selection, manager: JetStreamManager) => Promise<number>;

/** Finds out which letters are meant. Nobody means all of them by saying nothing. */
async function withSelection(
  call: Call<ManyFlags>,
  work: Work,
  options: SessionOptions = {},
): Promise<number> {
  const { flags } = call;
  const ids = [...new Set(call.args.map(taskIdArg))];
  const filter = filterOf(flags);
  if (ids.length === 0 && isOpen(filter) && flags.all !== true) {
    throw usageError("say which dead letters: ids of tasks, a filter such as --error, or --all");
  }
  const withLetters = async (session: Session): Promise<number> => {
    const manager = await session.manager();
    const { state } = await manager.streams.info(MESH_DEAD.name);
    const missing: string[] = [];
    for (const id of ids) if ((await findLetter(manager, id)) === undefined) missing.push(id);
    tellMissing(call, session, missing);
    const all = isOpen(filter) ? state.messages : undefined;
    const total = ids.length > 0 ? ids.length - missing.length : all;
    return work(session, { ids, missing, filter, to: state.last_seq, total }, manager);
  };
  return withSession(call, "admin", withLetters, options);
}

/** Says which of the tasks that were named have no letter: one document of JSON says it at its end. */
function tellMissing({ io }: Call<ManyFlags>, { format }: Session, missing: readonly string[]) {
  for (const task of missing) {
    const error = noLetterText(task);
    if (format === "table") io.err(`swarmctl: ${error}\n`);
    if (format === "jsonl") io.out(line({ task, error }));
  }
}

function deedOf(call: Call<ManyFlags>, { ids, filter }: Selection) {
  const wanted = Object.entries(filter).filter(([, value]) => value !== undefined);
  const words = wanted.map(([name, value]) => `${name}=${value}`);
  const target = ids.length > 0 ? ids.join(",") : words.length > 0 ? words.join(" ") : "all";
  return { target: target.slice(0, 1_024), reason: call.flags.reason ?? "" };
}

/** The letters that are meant, at most so many. */
async function* wanted(
  call: Call<ManyFlags>,
  selection: Selection,
  manager: JetStreamManager,
): AsyncGenerator<DeadLetter> {
  const { limit } = call.flags;
  let left =
    limit === undefined
      ? Number.POSITIVE_INFINITY
      : countFlag("--limit", limit, { min: 1, max: LIMIT_MAX });
  for await (const letter of select(manager, selection)) {
    if (left-- <= 0) return;
    yield letter;
  }
}

/** Says what would be done, and does nothing. */
async function tellOnly(
  call: Call<ManyFlags>,
  session: Session,
  selection: Selection,
  manager: JetStreamManager,
): Promise<number> {
  const { count, groups } = await survey(call, selection, manager);
  const missing = missingIn(selection);
  const value = { dryRun: true, letters: count, groups: groups.all(), ...missing };
  print(call.io, session.format, value, () =>
    count === 0
      ? "no dead letter matches\n"
      : `${groupsText(groups.all())}\n${letters(count)} would be meant; nothing was done\n`,
  );
  return selection.missing.length === 0 ? Exit.ok : Exit.notFound;
}

/** What JSON says of tasks that were named and have no letter; nothing when there are none. */
function missingIn({ missing }: Pick<Selection, "missing">): { readonly missing?: unknown } {
  return missing.length === 0 ? {} : { missing };
}

async function survey(call: Call<ManyFlags>, selection: Selection, manager: JetStreamManager) {
  const groups = new LetterGroups();
  let count = 0;
  for await (const letter of wanted(call, selection, manager)) {
    groups.add(letter);
    count++;
  }
  return { count, groups };
}

async function requireYes(
  call: Call<ManyFlags>,
  selection: Selection,
  manager: JetStreamManager,
): Promise<void> {
  const { count } = await survey(call, selection, manager);
  if (count === 0) return;
  const said = await call.io.confirm(`Delete ${letters(count)} for good?`);
  if (said === undefined) {
    throw usageError(`${letters(count)} would be deleted for good; say --yes if that is meant`);
  }
  if (!said) throw new CliError(Exit.error, "declined", "nothing was deleted");
}

interface Errand {
  readonly selection: Selection;
  readonly manager: JetStreamManager;
  /** What is done to a letter, in a word. */
  readonly done: "retried" | "purged";
}

/** Does `work` to each letter, some at once, and tells how far it came. `undefined`: not any more. */
async function forEachLetter(
  call: Call<ManyFlags>,
  session: Session,
  { selection, manager, done }: Errand,
  work: (letter: DeadLetter) => Promise<Done | undefined>,
): Promise<number> {
  const { io } = call;
  // As many wait for their turn as work at once: many listeners are no leak.
  setMaxListeners(0, io.interrupted());
  const tally = new Tally(call, session, { done, selection });
  const source = wanted(call, selection, manager);
  const one = async (): Promise<void> => {
    // Each takes the next letter when it is done with its own.
    for (let next = await source.next(); next.done !== true; next = await source.next()) {
      const letter = next.value;
      const result = await work(letter).catch((error: unknown) => ({
        letter,
        error: error instanceof Error ? error.message : String(error),
      }));
      if (result === undefined || io.interrupted().aborted) return;
      tally.count(result);
    }
  };
  await Promise.all(Array.from({ length: IN_WORK_MAX }, one));
  return tally.end();
}

/** Counts what became of letters, and prints it. */
class Tally {
  readonly #call: Call<ManyFlags>;
  readonly #session: Session;
  readonly #done: Errand["done"];
  readonly #progress: Progress;
  readonly #selection: Selection;
  readonly #startedAtMs = systemClock.elapsed();
  #last: Done | undefined;
  #ok = 0;
  #before = 0;
  #failed = 0;

  constructor(
    call: Call<ManyFlags>,
    session: Session,
    { done, selection }: Pick<Errand, "done" | "selection">,
  ) {
    this.#call = call;
    this.#session = session;
    this.#done = done;
    this.#selection = selection;
    this.#progress = new Progress(call.io, session.format, `dead letters ${done}`);
  }

  count(result: Done): void {
    const { letter, id, duplicate, capability, error } = result;
    this.#last = result;
    const { io } = this.#call;
    const { format } = this.#session;
    if (error !== undefined) {
      this.#failed++;
      this.#progress.clear();
      if (format === "table") io.err(`swarmctl: ${letter.task}: ${error}\n`);
    } else this.#ok++;
    if (duplicate === true) this.#before++;
    if (format === "jsonl") {
      io.out(line({ task: letter.task, seq: letter.seq, id, duplicate, capability, error }));
    } else if (format === "table" && this.#call.args.length > 0 && id !== undefined) {
      this.#progress.clear();
      io.out(duplicate === true ? `${id} was submitted before\n` : `${id} submitted\n`);
    }
    const note = this.#failed === 0 ? "" : `${this.#failed} failed`;
    this.#progress.tell({ done: this.#ok, total: this.#selection.total, note });
  }

  end(): number {
    const { io } = this.#call;
    this.#progress.clear();
    const value = { [this.#done]: this.#ok, before: this.#before, failed: this.#failed };
    const seconds = (systemClock.elapsed() - this.#startedAtMs) / 1_000;
    const cut = io.interrupted().aborted ? "interrupted; " : "";
    const failed = this.#failed === 0 ? "" : `, ${this.#failed} could not be`;
    const before = this.#before === 0 ? "" : `, ${this.#before} of them once before`;
    const text = `${cut}${letters(this.#ok)} ${this.#done} in ${seconds.toFixed(1)}s${before}${failed}\n`;
    // Of one letter it is told what became of it.
    const one = this.#call.args.length === 1 ? this.#last : undefined;
    const { id, duplicate, capability } = one ?? {};
    const single = id === undefined ? {} : { id, duplicate, of: one?.letter.task, capability };
    if (this.#session.format === "json") {
      print(io, "json", { ...single, ...value, ...missingIn(this.#selection) }, () => text);
    } else if (this.#session.format === "table") io.out(text);
    if (this.#failed > 0 || cut !== "") return Exit.error;
    return this.#selection.missing.length === 0 ? Exit.ok : Exit.notFound;
  }
}

/** Takes a letter out of the stream. That it is gone already is as good. */
async function forget(manager: JetStreamManager, letter: DeadLetter): Promise<void> {
  try {
    await manager.streams.deleteMessage(MESH_DEAD.name, letter.seq, false);
  } catch (error) {
    if (!(error instanceof JetStreamApiError) || error.code !== NO_MESSAGE) throw error;
  }
}

function letters(count: number): string {
  return `${count} dead letter${count === 1 ? "" : "s"}`;
}
