import { getEventListeners } from "node:events";
import { ManualClock } from "@swarm-mesh/testkit";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  aborted,
  assert,
  backoffMs,
  hedged,
  InvariantError,
  isoTime,
  latch,
  REQUEST_BACKOFF,
  retry,
  silentLog,
  systemClock,
  systemRandom,
  ticks,
  timeOf,
  together,
  unlessAborted,
  Wakeup,
} from "../src/mod.ts";

const POLICY = { baseMs: 100, maxMs: 1_000 };

describe("a hedged question", () => {
  const asking = () => {
    const clock = new ManualClock();
    const asked: ReturnType<typeof latch<string>>[] = [];
    const ask = (): Promise<string> => {
      const question = latch<string>();
      asked.push(question);
      return question.promise;
    };
    return { clock, asked, answer: hedged(ask, { clock, everyMs: 500 }) };
  };

  test("is asked again while nobody answers, and then no more", async () => {
    const { clock, asked, answer } = asking();
    expect(asked).toHaveLength(1);
    await clock.advance(499);
    expect(asked).toHaveLength(1);
    await clock.advance(1);
    expect(asked).toHaveLength(2);
    asked[1]?.resolve("yes");
    expect(await answer).toBe("yes");
    await clock.advance(5_000);
    expect(asked).toHaveLength(2);
  });

  test("takes the answer that was slow", async () => {
    const { clock, asked, answer } = asking();
    await clock.advance(500);
    asked[0]?.resolve("slow");
    expect(await answer).toBe("slow");
    asked[1]?.reject(new Error("nobody waits for it"));
  });

  test("fails with the first that fails", async () => {
    const { clock, asked, answer } = asking();
    await clock.advance(500);
    asked[1]?.reject(new Error("no leader"));
    await expect(answer).rejects.toThrow("no leader");
    asked[0]?.reject(new Error("nobody waits for it"));
  });
});

describe("ticks", () => {
  test("come at once, then after each interval, until aborted", async () => {
    const { clock, count, stop, ended } = ticking();
    await clock.advance(0);
    expect(count()).toBe(1);
    await clock.advance(99);
    expect(count()).toBe(1);
    await clock.advance(1);
    expect(count()).toBe(2);
    stop();
    await ended;
    expect(count()).toBe(2);
  });

  test("come sooner when rung, and many rings count as one", async () => {
    const { clock, count, stop, ended, wakeup } = ticking();
    await clock.advance(0);
    wakeup.ring();
    wakeup.ring();
    await clock.advance(0);
    expect(count()).toBe(2);
    await clock.advance(0);
    expect(count()).toBe(2);
    stop();
    await ended;
  });

  test("leave nothing on the signal that they run by", async () => {
    const signal = new AbortController().signal;
    const wakeup = new Wakeup();
    let count = 0;
    for await (const _ of ticks({ clock: systemClock, everyMs: 1_000, wakeup, signal })) {
      wakeup.ring();
      if (++count === 100) break;
    }
    expect(getEventListeners(signal, "abort")).toEqual([]);
    expect(dependentsOf(signal)).toBe(0);
    // So that the day on which Node calls it by another name is noticed.
    AbortSignal.any([signal]);
    expect(dependentsOf(signal)).toBe(1);
  });

  test("a ring while a tick is worked on brings another", async () => {
    const clock = new ManualClock();
    const stop = new AbortController();
    const wakeup = new Wakeup();
    let count = 0;
    for await (const _ of ticks({ clock, everyMs: 1_000, wakeup, signal: stop.signal })) {
      count++;
      if (count === 1) wakeup.ring();
      else stop.abort();
    }
    expect(count).toBe(2);
  });

  test("never come for a signal that is aborted already", async () => {
    for await (const _ of ticks({ clock: systemClock, everyMs: 1, signal: AbortSignal.abort() })) {
      expect.unreachable();
    }
  });
});

describe("together", () => {
  test("ends all loops when one ends, and waits for them", async () => {
    const ended: string[] = [];
    const waiting = async (signal: AbortSignal): Promise<void> => {
      await aborted(signal);
      ended.push("waiting");
    };
    await together(new AbortController().signal, [waiting, async () => undefined, waiting]);
    expect(ended).toEqual(["waiting", "waiting"]);
  });

  test("rejects with the first failure, after every loop has ended", async () => {
    let cleanedUp = false;
    const failing = together(new AbortController().signal, [
      (signal) =>
        aborted(signal).then(() => {
          cleanedUp = true;
        }),
      () => Promise.reject(new Error("broken")),
    ]);
    await expect(failing).rejects.toThrow("broken");
    expect(cleanedUp).toBe(true);
  });

  test("resolves when the signal aborts", async () => {
    const stop = new AbortController();
    const running = together(stop.signal, [aborted]);
    stop.abort();
    await running;
  });
});

describe("backoff", () => {
  test.each([
    [1, 0, 50],
    [1, 0.999, 100],
    [2, 0, 100],
    [4, 0, 400],
    [5, 0, 500],
    [100, 0, 500],
    [1_000_000, 0.999, 1_000],
  ])("after %i failures and a draw of %f: %i ms", (failures, draw, expected) => {
    expect(backoffMs(POLICY, failures, () => draw)).toBe(expected);
  });

  test("is never none, never more than the most", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10_000 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (failures, draw) => {
          const ms = backoffMs(REQUEST_BACKOFF, failures, () => draw);
          expect(ms).toBeGreaterThanOrEqual(REQUEST_BACKOFF.baseMs / 2);
          expect(ms).toBeLessThanOrEqual(REQUEST_BACKOFF.maxMs);
        },
      ),
    );
  });
});

describe("retry", () => {
  const options = {
    random: systemRandom,
    policy: POLICY,
    signal: new AbortController().signal,
    retryable: () => true,
  };

  test("tries again after each wait until it succeeds", async () => {
    const clock = new ManualClock();
    let tries = 0;
    const done = retry(
      async () => {
        if (++tries < 3) throw new Error("not yet");
        return "done";
      },
      { ...options, clock, random: () => 0 },
    );
    await clock.advance(49);
    expect(tries).toBe(1);
    await clock.advance(1);
    expect(tries).toBe(2);
    await clock.advance(100);
    expect(await done).toBe("done");
  });

  test("ends with the last error: out of tries, for good, or aborted", async () => {
    const clock = { ...systemClock, sleep: async () => undefined };
    let tries = 0;
    const failing = async (): Promise<never> => {
      throw new Error(`try ${++tries}`);
    };
    await expect(retry(failing, { ...options, clock, tries: 3 })).rejects.toThrow("try 3");
    await expect(retry(failing, { ...options, clock, retryable: () => false })).rejects.toThrow(
      "try 4",
    );
    const signal = AbortSignal.abort();
    await expect(retry(failing, { ...options, clock, signal })).rejects.toThrow("try 5");
    const stop = new AbortController();
    const stopping = { ...clock, sleep: async () => stop.abort() };
    await expect(
      retry(failing, { ...options, clock: stopping, signal: stop.signal }),
    ).rejects.toThrow("try 6");
  });
});

test("the system's clock sleeps, and wakes early without rejecting", async () => {
  const startedAt = systemClock.elapsed();
  await systemClock.sleep(10);
  expect(systemClock.elapsed() - startedAt).toBeGreaterThan(8);
  await systemClock.sleep(60_000, AbortSignal.timeout(5));
  await systemClock.sleep(60_000, AbortSignal.abort());
  expect(systemClock.elapsed() - startedAt).toBeLessThan(10_000);
  expect(Math.abs(systemClock.now() - Date.now())).toBeLessThan(1_000);
  expect(systemRandom()).toBeLessThan(1);
});

test("times are ISO 8601 and come back", () => {
  expect(isoTime(0)).toBe("1970-01-01T00:00:00.000Z");
  expect(timeOf(isoTime(1_700_000_000_123))).toBe(1_700_000_000_123);
  expect(timeOf("yesterday")).toBeNaN();
});

test("a latch settles once; an aborted signal is heard at once", async () => {
  const opened = latch<number>();
  opened.resolve(1);
  opened.resolve(2);
  expect(await opened.promise).toBe(1);
  const broken = latch<number>();
  broken.reject(new Error("broken"));
  await expect(broken.promise).rejects.toThrow("broken");
  await aborted(AbortSignal.abort());
});

test("what is waited for unless a signal aborts leaves nothing on the signal", async () => {
  const stop = new AbortController();
  const listeners = () => getEventListeners(stop.signal, "abort").length;
  expect(await unlessAborted(Promise.resolve(1), stop.signal)).toBe(1);
  await expect(unlessAborted(Promise.reject(new Error("no")), stop.signal)).rejects.toThrow("no");
  expect(listeners()).toBe(0);
  const never = unlessAborted(latch<number>().promise, stop.signal);
  expect(listeners()).toBe(1);
  stop.abort();
  expect(await never).toBeUndefined();
  expect(await unlessAborted(latch<number>().promise, stop.signal)).toBeUndefined();
  expect(listeners()).toBe(0);
});

test("a broken invariant is an error of its own", () => {
  expect(() => assert(true, "holds")).not.toThrow();
  expect(() => assert(false, "does not hold")).toThrow(InvariantError);
  for (const say of [silentLog.debug, silentLog.info, silentLog.warn, silentLog.error]) {
    expect(say({}, "nothing")).toBeUndefined();
  }
});

/** Signals that Node has noted as made of this one. */
function dependentsOf(signal: AbortSignal): number {
  const key = Object.getOwnPropertySymbols(signal).find((symbol) =>
    symbol.description?.includes("kDependantSignals"),
  );
  const noted: unknown = key === undefined ? undefined : Reflect.get(signal, key);
  return (noted as Set<unknown> | undefined)?.size ?? 0;
}

/** A loop of ticks 100 ms apart on a clock of its own. */
function ticking() {
  const clock = new ManualClock();
  const stop = new AbortController();
  const wakeup = new Wakeup();
  let count = 0;
  const run = async (): Promise<void> => {
    for await (const _ of ticks({ clock, everyMs: 100, wakeup, signal: stop.signal })) count++;
  };
  return { clock, wakeup, stop: () => stop.abort(), count: () => count, ended: run() };
}
