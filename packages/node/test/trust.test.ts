import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { Header } from "@swarm-mesh/protocol";
import { isoTime, silentLog } from "@swarm-mesh/runtime";
import { ManualClock } from "@swarm-mesh/testkit";
import fc from "fast-check";
import { test as base, describe, expect } from "vitest";
import { SetupError } from "../src/mod.ts";
import { Replays } from "../src/replays.ts";
import { parseSigners } from "../src/signers-file.ts";
import { Trust } from "../src/trust.ts";
import { dispatchOf, newKey, SignersFile, signedHeaders } from "./signed.ts";

const HOUR_MS = 3_600_000;
const [key, next] = [newKey(), newKey()];
const NOW_MS = new ManualClock().now();
const at = (ms: number): string => isoTime(NOW_MS + ms);

interface Scene {
  readonly clock: ManualClock;
  readonly file: SignersFile;
  readonly trust: Trust;
  /** Why a try of a task is refused, or who signed it. */
  readonly judge: (task?: Partial<Asked>) => string | undefined;
}

interface Asked {
  readonly id: string;
  readonly capability: string;
  readonly attempt: number;
  readonly expires: string;
  readonly requires: string;
  readonly signer: typeof key | undefined;
}

const test = base.extend<{ scene: Scene }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
  scene: async ({}, use) => {
    const clock = new ManualClock();
    const file = new SignersFile(`ci ${key.publicKey}\n`);
    const trust = new Trust(
      { signers: file.path, requireSigned: ["deploy"] },
      { clock, log: silentLog, labels: { zone: "eu" }, capabilities: ["deploy", "echo"] },
    );
    const judge: Scene["judge"] = (task = {}) => {
      const asked = { id: "t1", capability: "deploy", attempt: 1, expires: at(HOUR_MS), ...task };
      const payload = new TextEncoder().encode("now");
      const headers = signedHeaders(
        "signer" in task ? (task.signer ?? key) : key,
        { ...asked, payload },
        asked,
      );
      const unsigned = "signer" in task && task.signer === undefined;
      if (unsigned)
        for (const name of [Header.signer, Header.expires, Header.signature]) delete headers[name];
      const dispatch = dispatchOf(headers, payload);
      if (dispatch === undefined) throw new Error("no dispatch");
      const verdict = trust.judge(dispatch);
      return verdict.ok ? verdict.signer : verdict.error.code;
    };
    await use({ clock, file, trust, judge });
    file.remove();
  },
});

test("an unsigned task runs where none has to be signed", ({ scene: { judge, trust } }) => {
  expect(judge({ signer: undefined, capability: "echo" })).toBeUndefined();
  expect(judge({ signer: undefined })).toBe("signature_missing");
  expect(trust.counts).toMatchObject({ signature_missing: 1, replayed: 0 });
});

test("a task runs until its signature expires", async ({ scene: { clock, judge } }) => {
  expect(judge({ attempt: 1 })).toBe("ci");
  await clock.advance(HOUR_MS - 1);
  expect(judge({ attempt: 2 })).toBe("ci");
  await clock.advance(1);
  expect(judge({ attempt: 3 })).toBe("signature_expired");
});

test("no signature is valid for longer than ids are remembered", ({ scene: { judge } }) => {
  expect(judge({ id: "a", expires: at(24 * HOUR_MS) })).toBe("ci");
  // Some clocks are behind.
  expect(judge({ id: "b", expires: at(24 * HOUR_MS + 60_000) })).toBe("ci");
  expect(judge({ id: "c", expires: at(25 * HOUR_MS) })).toBe("signature_invalid");
});

test("a node without the labels that were signed for refuses", ({ scene: { judge } }) => {
  expect(judge({ id: "a", requires: "zone=eu" })).toBe("ci");
  expect(judge({ id: "b", requires: "zone=us" })).toBe("signature_invalid");
  expect(judge({ id: "c", requires: "zone" })).toBe("signature_invalid");
});

describe("a task that was here before", () => {
  test("is tried again, and not run again", ({ scene: { judge, trust } }) => {
    expect(judge({ attempt: 1 })).toBe("ci");
    expect(judge({ attempt: 1 })).toBe("replayed");
    expect(judge({ attempt: 3 })).toBe("ci");
    expect(judge({ attempt: 2 })).toBe("replayed");
    // The end of an earlier try is no end.
    trust.ended("t1", 1);
    expect(judge({ attempt: 4 })).toBe("ci");
    trust.ended("t1", 4);
    expect(judge({ attempt: 5 })).toBe("replayed");
    expect(trust.counts.replayed).toBe(3);
  });

  test("may use its id again once the signature has expired", async ({
    scene: { clock, judge },
  }) => {
    expect(judge({ attempt: 1 })).toBe("ci");
    await clock.advance(HOUR_MS);
    expect(judge({ attempt: 1 })).toBe("signature_expired");
    expect(judge({ attempt: 1, expires: at(2 * HOUR_MS) })).toBe("ci");
  });

  test("is remembered until it expires, among as many as are", () => {
    const tries = fc.array(
      fc.tuple(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 1, max: 3 })),
    );
    fc.assert(
      fc.property(tries, (all) => {
        const replays = new Replays(20);
        const newest = new Map<number, number>();
        for (const [id, attempt] of all) {
          const admitted = replays.admit(String(id), attempt, 1_000, 0);
          // What has been let go may come again; what has not may not.
          if (newest.size < 20) expect(admitted).toBe(attempt > (newest.get(id) ?? 0));
          if (admitted) newest.set(id, attempt);
          expect(replays.size).toBeLessThanOrEqual(20);
        }
      }),
    );
  });
});

describe("the signers", () => {
  test("are read again when the file changes, and kept when it cannot be read", async ({
    scene: { clock, file, judge },
  }) => {
    expect(judge({ id: "a", signer: next })).toBe("unknown_signer");
    // A key is replaced: both are trusted for a while, then the old one is not.
    file.write(`ci ${key.publicKey} until=${at(HOUR_MS / 2)}\nci ${next.publicKey}\n`);
    await clock.advance(1_000);
    expect([judge({ id: "b" }), judge({ id: "c", signer: next })]).toEqual(["ci", "ci"]);
    file.write("ci UX\n");
    await clock.advance(1_000);
    expect(judge({ id: "d" })).toBe("ci");
    await clock.advance(HOUR_MS / 2);
    expect([judge({ id: "e" }), judge({ id: "f", signer: next })]).toEqual([
      "unknown_signer",
      "ci",
    ]);
    file.write("# nobody\n");
    await clock.advance(1_000);
    expect(judge({ id: "g", signer: next })).toBe("unknown_signer");
  });

  test("are looked at again after a read that failed, though the file is the same", async ({
    scene: { clock, file, judge },
  }) => {
    file.write(`ci ${next.publicKey}\n`);
    await clock.advance(1_000);
    const before = whileNothingCanBeRead(() => judge({ id: "a" }));
    await clock.advance(1_000);
    expect([before, judge({ id: "b" }), judge({ id: "c", signer: next })]).toEqual([
      "ci",
      "unknown_signer",
      "ci",
    ]);
  });

  test("are trusted with what they may sign, and from when on", async ({
    scene: { clock, file, judge },
  }) => {
    const limits = `capabilities=deploy from=${at(HOUR_MS / 2)}`;
    file.write(`ci ${key.publicKey} ${limits} # Mondays\n`);
    await clock.advance(1_000);
    expect(judge({ id: "a" })).toBe("unknown_signer");
    await clock.advance(HOUR_MS / 2);
    expect(judge({ id: "b" })).toBe("ci");
    expect(judge({ id: "c", capability: "echo" })).toBe("unknown_signer");
  });

  const good = key.publicKey;
  base.for([
    ["ci", "line 1: no public key"],
    [`ci ${good.slice(0, -1)}`, "line 1: no public key"],
    [`# all\n\n${good}`, "line 3: no public key"],
    [`c/i ${good}`, 'line 1: "c/i" is no name'],
    [`ci ${good} until=tomorrow`, 'line 1: "tomorrow" is no time in UTC'],
    [`ci ${good} until=2027-01-31T12:00:00`, "no time in UTC"],
    [`ci ${good} capabilities=a,b.c`, 'line 1: "b.c" is no capability'],
    [`ci ${good} forever`, "expected capabilities="],
    [`ci ${good} from=2027-01-01 from=2027-01-02`, "each once"],
    [`ci ${good}\nci2 ${good}`, "line 2: U"],
  ] as const)("%j is told: %s", ([text, problem]) => {
    expect(() => parseSigners(text)).toThrow(problem);
  });

  test("must be there at the start, and what has to be signed be offered", ({
    scene: { clock, file },
  }) => {
    const deps = { clock, log: silentLog, labels: {}, capabilities: ["deploy"] };
    const make = (signers: string, requireSigned: readonly string[]) => () =>
      new Trust({ signers, requireSigned }, deps);
    expect(make(file.path, ["deploy"])).not.toThrow();
    expect(make(`${file.path}-none`, ["deploy"])).toThrow(SetupError);
    expect(make(file.path, ["deplyo"])).toThrow('"deplyo", which is not offered');
    file.write("ci\n");
    expect(make(file.path, [])).toThrow(/line 1/);
  });
});

/** As when this process has no file descriptor left. */
function whileNothingCanBeRead<T>(work: () => T): T {
  const { readFileSync } = fs;
  fs.readFileSync = () => {
    throw Object.assign(new Error("EMFILE: too many open files"), { code: "EMFILE" });
  };
  syncBuiltinESMExports();
  try {
    return work();
  } finally {
    fs.readFileSync = readFileSync;
    syncBuiltinESMExports();
  }
}
