import {
  decodeTasks,
  encodeTasks,
  Header,
  TaskSignature,
  TIMEOUT_DEFAULT_MS,
} from "@swarm-mesh/protocol";
import { isoTime, silentLog } from "@swarm-mesh/runtime";
import { ManualClock } from "@swarm-mesh/testkit";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { parseDispatches } from "../src/dispatch.ts";
import { Trust } from "../src/trust.ts";
import { dispatchOf, newKey, SignersFile, signedHeaders, type Task } from "./signed.ts";

const HOUR_MS = 3_600_000;
const clock = new ManualClock();
const [key, stranger] = [newKey(), newKey()];
const file = new SignersFile(`ci ${key.publicKey}\n`);
afterAll(() => file.remove());

const trust = (): Trust =>
  new Trust(
    { signers: file.path, requireSigned: ["*"] },
    { clock, log: silentLog, labels: { zone: "eu", gpu: "a100" }, capabilities: ["deploy"] },
  );

const name = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/);
const task: fc.Arbitrary<Task> = fc.record(
  {
    id: name,
    capability: name,
    payload: fc.uint8Array({ maxLength: 64 }),
    timeoutMs: fc.integer({ min: 1, max: 24 * HOUR_MS }),
    requires: fc.constantFrom("zone=eu", "gpu=a100,zone=eu"),
    expires: fc.integer({ min: 1, max: 24 * HOUR_MS }).map((ms) => isoTime(clock.now() + ms)),
  },
  { requiredKeys: ["id", "capability", "payload", "expires"] },
);

/** What may be changed on the way: everything that a signature covers, and the signature. */
const COVERED = [
  Header.taskId,
  Header.capability,
  Header.timeout,
  Header.requires,
  Header.signer,
  Header.expires,
  Header.signature,
];

/** Changes, drops, adds or exchanges the headers, or one byte of the payload. */
const change = fc.oneof(
  fc.record({
    kind: fc.constant("character" as const),
    header: fc.constantFrom(...COVERED),
    at: fc.nat(),
    by: fc.integer({ min: 32, max: 126 }),
  }),
  fc.record({
    kind: fc.constant("value" as const),
    header: fc.constantFrom(...COVERED),
    value: fc.oneof(
      fc.string(),
      name,
      fc.constantFrom("", "1s", "24h", "zone=eu", "zone=us", stranger.publicKey),
      fc.integer({ min: 1, max: 48 * HOUR_MS }).map((ms) => isoTime(clock.now() + ms)),
    ),
  }),
  fc.record({
    kind: fc.constant("byte" as const),
    at: fc.nat(),
    by: fc.integer({ min: 1, max: 255 }),
  }),
  fc.record({ kind: fc.constant("length" as const), more: fc.uint8Array({ maxLength: 4 }) }),
);
type Change = typeof change extends fc.Arbitrary<infer C> ? C : never;

interface Sent {
  readonly headers: Readonly<Record<string, string>>;
  readonly payload: Uint8Array;
}

/** What arrives when `one` is done on the way; the same when there was nothing to change. */
function changed({ headers, payload }: Sent, one: Change): Sent {
  switch (one.kind) {
    case "character": {
      const text = headers[one.header] ?? "";
      const at = one.at % Math.max(text.length, 1);
      const value = text.slice(0, at) + String.fromCharCode(one.by) + text.slice(at + 1);
      return { headers: { ...headers, [one.header]: value.trim() }, payload };
    }
    case "value":
      return { headers: { ...headers, [one.header]: one.value.trim() }, payload };
    case "byte": {
      if (payload.length === 0) return { headers, payload: Uint8Array.of(one.by) };
      const bytes = Uint8Array.from(payload);
      const at = one.at % bytes.length;
      bytes[at] = (bytes[at] ?? 0) ^ one.by;
      return { headers, payload: bytes };
    }
    case "length":
      return {
        headers,
        payload:
          one.more.length === 0 ? payload.subarray(1) : Uint8Array.of(...payload, ...one.more),
      };
  }
}

/** Does it say the same? A time-out may be written in several ways. */
function same(a: Sent, b: Sent): boolean {
  const said = ({ headers, payload }: Sent) => {
    const dispatch = dispatchOf(headers, payload);
    const { timeoutMs = TIMEOUT_DEFAULT_MS } = dispatch ?? {};
    return [
      timeoutMs,
      ...COVERED.filter((one) => one !== Header.timeout).map((h) => headers[h] ?? ""),
    ];
  };
  return (
    Buffer.from(a.payload).equals(Buffer.from(b.payload)) &&
    JSON.stringify(said(a)) === JSON.stringify(said(b))
  );
}

test("what was signed is run, by itself and in a batch", () => {
  fc.assert(
    fc.property(task, (one) => {
      const headers = signedHeaders(key, one);
      const alone = dispatchOf(headers, one.payload);
      if (alone === undefined) throw new Error("no dispatch");
      expect(trust().judge(alone)).toEqual({ ok: true, signer: "ci" });
      const [batched] = throughBatch(headers, one.payload);
      if (batched === undefined) throw new Error("no batch");
      expect(trust().judge(batched)).toEqual({ ok: true, signer: "ci" });
    }),
    { numRuns: 100 },
  );
}, 60_000);

test("whatever is changed of it is refused, with a reason that is counted", () => {
  const judge = trust();
  const counted = (): number => Object.values(judge.counts).reduce((sum, n) => sum + n, 0);
  fc.assert(
    fc.property(task, change, (one, how) => {
      const sent = { headers: signedHeaders(key, one), payload: one.payload };
      const arrived = changed(sent, how);
      fc.pre(!same(sent, arrived));
      const dispatch = dispatchOf(arrived.headers, arrived.payload);
      // No task at all: `bad_request`, and the node counts it as malformed.
      if (dispatch === undefined) return;
      const before = counted();
      expect(judge.judge(dispatch)).toMatchObject({ ok: false, error: { retryable: false } });
      expect(counted()).toBe(before + 1);
      for (const batched of throughBatch(arrived.headers, arrived.payload)) {
        expect(judge.judge(batched).ok).toBe(false);
      }
    }),
    { numRuns: Number(process.env["SIGNED_CHANGES"] ?? 500) },
  );
  expect(counted()).toBeGreaterThan(200);
}, 60_000);

test("what another key signed is refused, whoever it says it is", () => {
  fc.assert(
    fc.property(task, (one) => {
      const headers = signedHeaders(stranger, one);
      const dispatch = dispatchOf(headers, one.payload);
      const posing = dispatchOf({ ...headers, [Header.signer]: key.publicKey }, one.payload);
      if (dispatch === undefined || posing === undefined) throw new Error("no dispatch");
      expect(trust().judge(dispatch)).toMatchObject({ error: { code: "unknown_signer" } });
      expect(trust().judge(posing)).toMatchObject({ error: { code: "signature_invalid" } });
    }),
    { numRuns: 100 },
  );
});

/** The dispatches that a node reads when the task comes in a batch; none when it cannot. */
function throughBatch(headers: Readonly<Record<string, string>>, payload: Uint8Array) {
  const dispatch = dispatchOf(headers, payload);
  if (dispatch === undefined) return [];
  const { taskId, attempt, capability, timeoutMs, requires } = dispatch;
  const signature = TaskSignature.safeParse(dispatch.signature);
  const signed = signature.success ? { ...signature.data, requires } : undefined;
  const head = { taskId, attempt, capability, timeoutMs, signed, bytes: payload.length };
  const body = encodeTasks([{ head, payload }]);
  expect("problem" in decodeTasks(body)).toBe(false);
  const read = parseDispatches({ get: (header) => headers[header] ?? "" }, body);
  return "problem" in read ? [] : read;
}
