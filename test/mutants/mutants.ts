/**
 * The mutants: bugs of the kind that the mesh is built to have none of, each of which the checker must
 * tell of. A change of the code that makes one impossible, or moves it, is an edit to this table.
 */
import type { Mutant, Patch } from "./mutant.ts";

const RECORDS = "services/coordinator/src/records.ts";
const SETTLEMENT = "services/coordinator/src/settlement.ts";
const DISPATCHER = "services/coordinator/src/dispatcher.ts";
const LIFECYCLE = "services/coordinator/src/lifecycle.ts";
const LANES = "services/coordinator/src/lanes.ts";
const COORDINATOR = "services/coordinator/src/service.ts";
const DISPATCH = "packages/node/src/dispatch.ts";
const RUNNER = "packages/node/src/runner.ts";

const patch = (file: string, find: string, replace: string): Patch => ({ file, find, replace });

export const MUTANTS: readonly Mutant[] = [
  {
    name: "acknowledged-before-recorded",
    bug: "a task's message is let go a moment before its record is written",
    patches: [
      patch(
        DISPATCHER,
        "if (!(await records.write(held, next))) {",
        "records.acknowledge(held.ack); await new Promise((wake) => setTimeout(wake, 300)); if (!(await records.write(held, next))) {",
      ),
    ],
    scenario: "leader-killed",
    caughtBy: "acknowledged-is-kept",
  },
  {
    name: "rejected-in-silence",
    bug: "a submit that cannot be read is dropped without a word",
    patches: [
      patch(
        SETTLEMENT,
        "while (!(await records.write(held, record))) {",
        "dispatcher.settle(held); if (held.gone) return; while (!(await records.write(held, record))) {",
      ),
    ],
    scenario: "steady",
    caughtBy: "acknowledged-is-kept",
    seldom: true,
  },
  {
    name: "written-without-comparing",
    bug: "a record is written whatever revision there is",
    patches: [patch(RECORDS, "headers: expecting(held.revision),", "headers: undefined,")],
    scenario: "steady",
    caughtBy: "one-final-record",
  },
  {
    name: "runs-again-after-the-end",
    bug: "messages are never acknowledged, and a final record is no reason not to run",
    patches: [
      patch(RECORDS, "this.#options.nc.publish(ack, ACK)", "void ack"),
      patch(
        LIFECYCLE,
        'if (isFinal(record.status)) return { kind: "drop" };',
        'if (isFinal(record.status)) return { kind: "place" };',
      ),
      patch(
        DISPATCHER,
        "if (held.record !== undefined && isFinal(held.record.status)) {",
        "if (false) {",
      ),
    ],
    scenario: "leader-killed",
    caughtBy: "one-final-record",
    seldom: true,
  },
  {
    name: "any-attempt-counts",
    bug: "an outcome of another attempt than the current one is taken",
    patches: [
      patch(
        LIFECYCLE,
        "record.node === fact.node && record.attempt === outcome.attempt",
        "record.node === fact.node",
      ),
    ],
    scenario: "steady",
    caughtBy: "result-is-of-its-attempt",
  },
  {
    name: "any-node-counts",
    bug: "an outcome of another node than the task's is taken",
    patches: [
      patch(
        LIFECYCLE,
        "record.node === fact.node && record.attempt === outcome.attempt",
        "record.attempt === outcome.attempt",
      ),
    ],
    scenario: "steady",
    caughtBy: "answers-hold",
    seldom: true,
  },
  {
    name: "answered-before-written",
    bug: "an outcome is answered, and its record never written",
    patches: [
      patch(
        SETTLEMENT,
        "if (!(await this.#writeOutcome(held, decision.record, node))) {",
        "if (false) {",
      ),
    ],
    scenario: "steady",
    caughtBy: "unfinished-has-owner",
  },
  {
    name: "retry-forgotten",
    bug: "a failed try is recorded, and the next one never scheduled",
    patches: [
      patch(
        SETTLEMENT,
        'if (written.status === "retrying") await',
        'if (written.status === "") await',
      ),
    ],
    scenario: "steady",
    caughtBy: "unfinished-has-owner",
  },
  {
    name: "one-try-too-many",
    bug: "a task is tried once more than it may be",
    patches: [
      patch(
        LIFECYCLE,
        "triesUsed(record) < record.maxAttempts",
        "triesUsed(record) <= record.maxAttempts",
      ),
    ],
    scenario: "steady",
    caughtBy: "tries-are-counted",
    seldom: true,
  },
  {
    name: "tries-forgotten",
    bug: "a record keeps its last failed try alone",
    patches: [patch(LIFECYCLE, "...record.tries,", "")],
    scenario: "steady",
    caughtBy: "tries-are-counted",
    seldom: true,
  },
  {
    name: "no-dead-letter",
    bug: "a task that failed leaves no dead letter",
    patches: [
      patch(
        SETTLEMENT,
        'if (written.status === "failed") await',
        'if (written.status === "") await',
      ),
    ],
    scenario: "steady",
    caughtBy: "failures-are-told",
    seldom: true,
  },
  {
    name: "cancel-not-told",
    bug: "a cancelled task's node is not told",
    patches: [patch(SETTLEMENT, "this.#orderCancel(held, record);", "dispatcher.settle(held);")],
    scenario: "steady",
    caughtBy: "cancel-stops",
  },
  {
    name: "moved-as-the-same-attempt",
    bug: "a task that moves keeps the number of its attempt",
    patches: [patch(LIFECYCLE, "Math.max(before.attempt + 1,", "Math.max(before.attempt,")],
    scenario: "nodes-killed",
    caughtBy: "moves-are-attempts",
  },
  {
    name: "moved-without-a-trace",
    bug: "a move is not noted in the record",
    patches: [
      patch(
        LIFECYCLE,
        "migrations: [...record.migrations, { from: record.node, to: null, at: where.at, reason }],",
        "migrations: record.migrations,",
      ),
    ],
    scenario: "nodes-killed",
    caughtBy: "tries-are-counted",
    seldom: true,
  },
  {
    name: "moved-twice",
    bug: "a second request for the same move moves the task again",
    patches: [
      patch(SETTLEMENT, "record.node === request.from &&", ""),
      patch(SETTLEMENT, "record.attempt === request.attempt;", "true;"),
    ],
    scenario: "nodes-killed",
    caughtBy: "moved-for-a-reason",
  },
  {
    name: "lost-node-keeps-its-tasks",
    bug: "the leader says that a lost node had nothing",
    patches: [
      patch(SETTLEMENT, 'if (record.status === "running") tasks.push(', "if (false) tasks.push("),
    ],
    scenario: "nodes-killed",
    caughtBy: "unfinished-has-owner",
    seldom: true,
  },
  {
    name: "begins-from-nothing",
    bug: "the next attempt is not given the checkpoint",
    patches: [
      patch(
        DISPATCHER,
        "record.attempt > 1 ? await records.checkpoint(record) : undefined",
        "undefined",
      ),
    ],
    scenario: "nodes-killed",
    caughtBy: "checkpoints-go-forward",
    seldom: true,
  },
  {
    name: "begins-from-the-oldest",
    bug: "the next attempt is given what the first one saved, not the last",
    patches: [patch(RECORDS, "b.attempt - a.attempt", "a.attempt - b.attempt")],
    scenario: "nodes-killed",
    caughtBy: "checkpoints-go-forward",
  },
  {
    name: "any-life-will-do",
    bug: "a node takes what was meant for an earlier life of it",
    patches: [patch(DISPATCH, "if (incarnation !== view.incarnation) {", "if (false) {")],
    scenario: "nodes-killed",
    caughtBy: "attempt-runs-once",
  },
  {
    name: "the-same-life-again",
    bug: "a node that comes back is given the number that it had",
    patches: [
      patch(
        "services/registry/src/registration.ts",
        'record.state === "JOINING" ? revision : record.incarnation;',
        "record.incarnation || revision;",
      ),
      patch(
        "services/registry/src/service.ts",
        "const incarnation = await this.#records.write(record, stored.revision);",
        "const incarnation = (await this.#records.write(record, stored.revision)) && (record.incarnation || (await this.#records.read(id)).revision);",
      ),
    ],
    scenario: "nodes-killed",
    caughtBy: "attempt-runs-once",
  },
  {
    name: "any-term-will-do",
    bug: "a node obeys a leader that was followed by another",
    patches: [patch(DISPATCH, "if (epoch < view.newestEpoch) {", "if (false) {")],
    scenario: "leader-killed",
    caughtBy: "runs-are-placed",
  },
  {
    name: "started-when-asked",
    bug: "a node starts an attempt that runs already when it is asked for it",
    patches: [
      patch(DISPATCH, 'if (attempt === view.runningAttempt) return { kind: "running" };', ""),
    ],
    scenario: "leader-killed",
    caughtBy: "attempt-runs-once",
    seldom: true,
  },
  {
    name: "left-to-the-dead",
    bug: "a new leader does not take over what the old one held",
    patches: [patch(LANES, "const old = await store.find();", "const old = [];")],
    scenario: "leader-killed",
    caughtBy: "unfinished-has-owner",
  },
  {
    name: "node-outlives-its-lease",
    bug: "a node whose lease is gone lets its tasks run on",
    patches: [
      patch(RUNNER, 'this.#abandon(run, "lease_lost", "the node lost its lease", 0);', "void run;"),
    ],
    scenario: "node-frozen",
    caughtBy: "lease-ends-runs",
  },
  {
    name: "leader-outlives-its-lease",
    bug: "a leader trusts its lease for ever",
    patches: [
      patch("packages/bus/src/lease.ts", "return this.remainingMs() > 0;", "return true;"),
      patch(
        COORDINATOR,
        "const sleepMs = Math.max(0, Math.min(waitMs, lease.remainingMs()));",
        "const sleepMs = waitMs;",
      ),
      patch(COORDINATOR, 'if (result === "lost") {', "if (false) {"),
      patch(COORDINATOR, "if (clock.elapsed() >= trustEndsAtMs) {", "if (false) {"),
    ],
    scenario: "leader-frozen",
    caughtBy: "one-leader-acts",
  },
  {
    name: "client-believes-itself",
    bug: "a client takes a submit for stored when it has sent it",
    patches: [
      patch(
        "packages/client/src/submitter.ts",
        "this.#deps.requester.store(subject, body, onStored, { headers, timeoutMs });",
        'this.#deps.requester.store(subject, body, () => {}, { headers, timeoutMs }); onStored({ kind: "stored", revision: 0, duplicate: false });',
      ),
    ],
    scenario: "server-killed",
    caughtBy: "acknowledged-is-kept",
  },
];
