import { expect, test } from "vitest";
import { payloadOf, runLoad } from "../src/workers/load.ts";

test("a payload has as many bytes as JSON as were asked for", () => {
  for (const bytes of [16, 256, 16_384]) {
    expect(JSON.stringify(payloadOf(bytes))).toHaveLength(bytes);
  }
});

test("a closed loop keeps its concurrency, no more", async () => {
  let running = 0;
  let most = 0;
  const order = { kind: "closed", tasks: 20, concurrency: 4, payloadBytes: 16 } as const;
  const { latenciesMs } = await runLoad(order, async () => {
    most = Math.max(most, ++running);
    await Promise.resolve();
    running--;
  });
  expect(most).toBe(4);
  expect(latenciesMs).toHaveLength(20);
});

test("an open loop does not wait for answers", async () => {
  let started = 0;
  let answer: () => void = () => undefined;
  const answered = new Promise<void>((resolve) => {
    answer = resolve;
  });
  const order = { kind: "open", tasks: 5, ratePerSecond: 1_000, payloadBytes: 16 } as const;
  // Nobody is answered before the last one is sent.
  await runLoad(order, () => {
    if (++started === 5) answer();
    return answered;
  });
  expect(started).toBe(5);
});

test("the first failure is the run's", async () => {
  const order = { kind: "closed", tasks: 3, concurrency: 1, payloadBytes: 16 } as const;
  await expect(runLoad(order, () => Promise.reject(new Error("no luck")))).rejects.toThrow(
    "no luck",
  );
});
