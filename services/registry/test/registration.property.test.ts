import {
  capabilitiesOf,
  isGone,
  NODE_TRANSITIONS,
  type NodeRecord,
  NodeState,
  type Registration,
} from "@swarm-mesh/protocol";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  decideDeregistration,
  decideRegistration,
  joiningRecord,
  lifeOf,
  type Ping,
  planSweep,
  recordIn,
} from "../src/registration.ts";

const AT = "2026-01-01T00:00:00.000Z";
const AGENTS = [{ name: "a", capabilities: ["echo"], slots: 2 }];
const REGISTRATION: Registration = {
  ...{ host: "h", port: 0, agents: AGENTS, labels: {}, cpu: 1, memoryBytes: 1 },
  ...{ role: "worker", version: "", costPerHour: 0, batches: false },
};
const JOIN_GRACE_MS = 5_000;
const LIMITS = { readyWithinMs: 30_000, archiveAfterMs: 1_000_000, commandsMax: 10 };

/** What may happen to a node's key. `life`: how far off the life that is meant is. */
type Step =
  | { readonly kind: "register"; readonly ping: Ping["kind"]; readonly ageMs: number }
  | { readonly kind: "lease"; readonly isThere: boolean }
  | { readonly kind: "leave"; readonly off: number; readonly phase: "leaving" | "left" }
  | { readonly kind: "sweep"; readonly knownForMs: number };

const steps = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant("register"),
      ping: fc.constantFrom("answered", "nobody", "silent"),
      ageMs: fc.constantFrom(0, JOIN_GRACE_MS),
    }),
    fc.record({ kind: fc.constant("lease"), isThere: fc.boolean() }),
    fc.record({
      kind: fc.constant("leave"),
      off: fc.constantFrom(0, 0, -1),
      phase: fc.constantFrom("leaving", "left"),
    }),
    fc.record({ kind: fc.constant("sweep"), knownForMs: fc.constantFrom(0, 40_000) }),
  ),
  { maxLength: 40 },
) as fc.Arbitrary<Step[]>;

/** A key of the bucket, and the writes that the decisions lead to. */
class Key {
  record: NodeRecord | undefined;
  revision = 0;
  leaseOf: number | undefined;

  get life(): number {
    return this.record === undefined ? 0 : lifeOf(this.record, this.revision);
  }

  take(step: Step): void {
    if (step.kind === "register") this.#register(step);
    else if (step.kind === "lease") this.leaseOf = step.isThere ? this.life : undefined;
    else if (step.kind === "leave") this.#leave(step);
    else this.#sweep(step.knownForMs);
  }

  #register({ ping, ageMs }: Step & { kind: "register" }): void {
    const { leaseOf, life } = this;
    const heard: Ping = ping === "answered" ? { kind: ping, incarnation: life } : { kind: ping };
    const evidence = { ping: heard, leaseOf, ageMs, livingCount: 1, joinGraceMs: JOIN_GRACE_MS };
    const decision = decideRegistration(this, evidence);
    const lives = this.record !== undefined && !isGone(this.record.state);
    if (decision.kind === "join") {
      expect(lives).toBe(false);
      this.#write(joiningRecord("n1", REGISTRATION, this.record?.incarnation ?? 0, AT));
    } else if (decision.kind === "end-predecessor") {
      expect(lives && ping !== "answered").toBe(true);
      if (ping === "silent") expect(leaseOf).not.toBe(life);
      expect(decision.incarnation).toBe(life);
      this.#become("FAILED");
    } else {
      expect(lives).toBe(true);
    }
  }

  #leave({ off, phase }: Step & { kind: "leave" }): void {
    const request = { incarnation: this.life + off, phase, reason: "" };
    const decision = decideDeregistration(this, request);
    if (off !== 0) expect(decision.kind).toBe("refuse");
    if (decision.kind === "write") this.#become(decision.to);
  }

  #sweep(knownForMs: number): void {
    if (this.record === undefined) return;
    const { record, revision, leaseOf } = this;
    for (const { kind } of planSweep(
      [{ record, revision, leaseOf, knownForMs, ageMs: 0 }],
      LIMITS,
    )) {
      if (kind === "activate") this.#become("ACTIVE");
      else this.#become("FAILED");
    }
  }

  #become(state: NodeState): void {
    const { record, revision } = this;
    if (record === undefined) throw new TypeError("nobody is registered");
    this.#write(recordIn({ record, revision }, state, "", AT));
  }

  #write(record: NodeRecord): void {
    this.record = record;
    this.revision += 2;
  }
}

test("whoever comes and goes, a life is named once, and lives only grow", () => {
  fc.assert(
    fc.property(steps, (all) => {
      const key = new Key();
      for (const step of all) {
        const { life, record: before } = key;
        key.take(step);
        expect(key.life).toBeGreaterThanOrEqual(life);
        if (key.record === before || key.record === undefined) continue;
        const isNew = key.record.state === "JOINING";
        expect(key.life > life).toBe(isNew);
        if (before !== undefined) {
          expect(NODE_TRANSITIONS[before.state]).toContain(key.record.state);
        }
      }
    }),
  );
});

test("a record has what its node registered in every state", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...NodeState.options),
      fc.integer({ min: 1 }),
      (state, revision) => {
        const record = joiningRecord("n1", REGISTRATION, 0, AT);
        const next = recordIn({ record, revision }, state, "why", AT);
        expect(next).toMatchObject({ ...REGISTRATION, state, incarnation: revision, slots: 2 });
        expect(next.capabilities).toEqual(capabilitiesOf(AGENTS));
      },
    ),
  );
});
