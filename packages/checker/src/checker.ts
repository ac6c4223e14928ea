/**
 * The judge: hears every line of a history, then says what must never have happened and did.
 *
 * Memory is bounded by the tasks, not by the lines' size: of each line only what some rule needs is
 * kept (about 4 KB for a task). Lines may come in any order.
 */
import type { HistoryKind, HistoryLine, LineOf } from "./history.ts";
import { RUN_RULES, TASK_RULES } from "./rules.ts";
import { type Keyed, MARGINS, type Margins, Run } from "./run.ts";
import { type Change, factsOf, TaskStory } from "./story.ts";
import { type Finding, type Place, partsOf, placeOf } from "./violation.ts";

/** A line that shows a violation. */
export interface Evidence {
  /** The history, as it was named to {@link Checker.hear}. */
  readonly source: string;
  /** From 1. */
  readonly line: number;
}

/** Something that must never happen, and did. */
export interface Violation {
  /** The rule's name. */
  readonly rule: string;
  /** The task; `null`: it is about the run as a whole. */
  readonly task: string | null;
  /** One sentence, which begins after the task's name. */
  readonly problem: string;
  readonly evidence: readonly Evidence[];
}

/** What was judged, and what was found. */
export interface Verdict {
  readonly lines: number;
  readonly tasks: number;
  /** Tasks whose PubAck was seen. */
  readonly acknowledged: number;
  /** Tasks with a final record. */
  readonly final: number;
  /** Changes of records. */
  readonly records: number;
  /** Tries of handlers. */
  readonly runs: number;
  readonly faults: number;
  /** Was the run said to be over? Else nothing is concluded from what is unfinished. */
  readonly complete: boolean;
  /** In the order of the rules, then of the tasks as they were first heard of. */
  readonly violations: readonly Violation[];
}

/** The leader that writes task records. */
const WRITER = "coordinator";

export class Checker {
  readonly #run: Run;
  readonly #stories = new Map<string, TaskStory>();
  readonly #sources: string[] = [];
  readonly #ears: Ears;
  #lines = 0;

  /** `margins`: where other than {@link MARGINS}. */
  constructor(margins: Partial<Margins> = {}) {
    this.#run = new Run({ ...MARGINS, ...margins });
    this.#ears = { run: this.#run, story: (task) => this.#story(task) };
  }

  /** Hears one line. `number`: its place in `source`, for the evidence. */
  hear(line: HistoryLine, number: number, source = "history"): void {
    this.#lines++;
    // Each kind's own listener hears it: the table's type says so, a union's cannot.
    HEARING[line.what](this.#ears, line as never, this.#place(source, number));
  }

  /** Judges everything heard. To be called once, last. */
  judge(): Verdict {
    this.#run.settle();
    const stories = [...this.#stories.values()];
    const sum = (count: (story: TaskStory) => number): number =>
      stories.reduce((total, story) => total + count(story), 0);
    return {
      lines: this.#lines,
      tasks: stories.length,
      acknowledged: sum((story) => (story.acknowledged === undefined ? 0 : 1)),
      final: sum((story) => (story.final === undefined ? 0 : 1)),
      records: sum((story) => story.changes.length),
      runs: sum((story) => story.starts.length),
      faults: this.#run.faults,
      complete: this.#run.end !== undefined,
      violations: [...this.#ofRun(), ...this.#ofTasks(stories)],
    };
  }

  #story(task: string): TaskStory {
    const known = this.#stories.get(task);
    if (known !== undefined) return known;
    const story = new TaskStory(task);
    this.#stories.set(task, story);
    return story;
  }

  #place(source: string, line: number): Place {
    let index = this.#sources.indexOf(source);
    if (index < 0) index = this.#sources.push(source) - 1;
    return placeOf(index, line);
  }

  #ofRun(): Violation[] {
    return RUN_RULES.flatMap((rule) =>
      rule.judgeRun(this.#run).map((finding) => this.#violation(rule.name, null, finding)),
    );
  }

  #ofTasks(stories: readonly TaskStory[]): Violation[] {
    return TASK_RULES.flatMap((rule) =>
      stories.flatMap((story) =>
        rule.judge(story, this.#run).map((one) => this.#violation(rule.name, story.id, one)),
      ),
    );
  }

  #violation(rule: string, task: string | null, { problem, places }: Finding): Violation {
    const evidence = places.map((place) => {
      const { source, line } = partsOf(place);
      return { source: this.#sources[source] ?? "", line };
    });
    return { rule, task, problem, evidence };
  }
}

/** Where what is heard is put. */
interface Ears {
  readonly run: Run;
  readonly story: (task: string) => TaskStory;
}

type Hear<K extends HistoryKind> = (ears: Ears, line: LineOf<K>, place: Place) => void;

/** What is kept of each kind of line. */
const HEARING: { readonly [K in HistoryKind]: Hear<K> } = {
  watching: ({ run }, line) => {
    for (const kind of line.kinds) run.watch(kind, line.capabilities);
  },
  submitting: ({ story }, line) => {
    story(line.task).maxAttempts ??= line.maxAttempts;
  },
  acknowledged: ({ story }, line, place) => {
    story(line.task).acknowledged ??= place;
  },
  // Nothing follows from it: an earlier submit of the same id may have been stored.
  refused: ({ story }, line) => void story(line.task),
  "result-seen": ({ story }, line, place) =>
    void story(line.task).seen.push({ ...own(line), place }),
  // Nor from this: a task may end before it is cancelled.
  "cancel-asked": ({ story }, line) => void story(line.task),
  record: (ears, line, place) => {
    const change = changeOf(line, place);
    ears.story(line.task).addChange(change);
    noteTerm(ears.run, line.task, change);
  },
  "record-unreadable": ({ story }, line, place) => {
    story(line.task).unreadable.push({ place, problem: line.problem });
  },
  "record-final-look": ({ story }, line, place) => {
    story(line.task).finalLook = changeOf(line, place);
  },
  "waiting-at-end": ({ run, story }, line) => {
    run.waitingKnown = true;
    for (const task of line.tasks) story(task).waiting = true;
  },
  "dead-letter": ({ story }, line, place) => void story(line.task).deadLetters.push(place),
  checkpoint: ({ story }, line, place) => void story(line.task).saved.push({ ...own(line), place }),
  node: ({ run }, line, place) => {
    const { incarnation, state } = line;
    listOf(run.nodes, line.node).push({ ...keyed(line, place), incarnation, state });
  },
  "leader-lease": ({ run }, line, place) => {
    if (line.service === WRITER) run.leaders.push({ ...keyed(line, place), holder: line.holder });
  },
  "node-lease": ({ run }, line, place) => {
    const { incarnation } = line;
    listOf(run.nodeLeases, line.node).push({ ...keyed(line, place), incarnation });
  },
  started: ({ story }, line, place) => void story(line.task).starts.push({ ...own(line), place }),
  ended: ({ story }, line, place) => void story(line.task).ends.push({ ...own(line), place }),
  answered: ({ story }, line, place) => void story(line.task).answers.push({ ...own(line), place }),
  fault: ({ run }, line) => run.disturb(line.fault, line.target, line),
  healed: ({ run }, line) => run.heal(line.fault, line.target, line.at),
  end: ({ run }, line, place) => {
    run.end = { place, at: line.at };
  },
};

/** A line's own fields. */
function own<L extends { what: string; by: string; task: string }>(
  line: L,
): Omit<L, "what" | "by" | "task"> {
  const { what: _what, by: _by, task: _task, ...rest } = line;
  return rest;
}

function keyed(
  line: { readonly revision: number; readonly at: number; readonly storedAt?: number | undefined },
  place: Place,
): Keyed<object> {
  return { place, revision: line.revision, at: line.storedAt ?? line.at };
}

function listOf<V>(lists: Map<string, V[]>, key: string): V[] {
  const list = lists.get(key) ?? [];
  lists.set(key, list);
  return list;
}

function changeOf(line: LineOf<"record"> | LineOf<"record-final-look">, place: Place): Change {
  return {
    place,
    revision: line.revision,
    previous: "previous" in line ? line.previous : undefined,
    at: ("storedAt" in line ? line.storedAt : undefined) ?? line.at,
    record: line.record === null ? undefined : factsOf(line.record),
  };
}

/** Keeps of each term which of its records are the first and the last in the bucket. */
function noteTerm(run: Run, task: string, { place, record, revision }: Change): void {
  if (record === undefined) return;
  const term = run.terms.get(record.epoch) ?? {
    epoch: record.epoch,
    first: undefined,
    last: undefined,
  };
  run.terms.set(record.epoch, term);
  const written = { place, revision, task };
  if (term.first === undefined || revision < term.first.revision) term.first = written;
  if (term.last === undefined || revision > term.last.revision) term.last = written;
}
