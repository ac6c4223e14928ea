import { type BatchedTask, decodeTasks, encodeTasks } from "@swarm-mesh/protocol";
import fc from "fast-check";
import { expect, test } from "vitest";

const name = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/);
const task: fc.Arbitrary<BatchedTask> = fc
  .record({
    taskId: name,
    capability: name,
    attempt: fc.integer({ min: 1, max: 1_000 }),
    timeoutMs: fc.integer({ min: 1, max: 86_400_000 }),
    payload: fc.uint8Array({ maxLength: 64 }),
  })
  .map(({ payload, ...head }) => ({ head: { ...head, bytes: payload.length }, payload }));

test("what is encoded is read again, newlines in payloads and all", () => {
  fc.assert(
    fc.property(fc.array(task, { minLength: 1, maxLength: 20 }), (tasks) => {
      const read = decodeTasks(encodeTasks(tasks));
      expect("problem" in read ? read.problem : read.tasks).toEqual(tasks);
    }),
  );
});

test("bytes that are no batch are a problem, never an exception", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (body) => {
      expect("problem" in decodeTasks(body)).toBe(true);
    }),
  );
});

test("a body cut short, or with more behind it, is a problem that counts the bytes", () => {
  const payload = new TextEncoder().encode("hello");
  const head = { taskId: "t", capability: "c", attempt: 1, timeoutMs: 1, bytes: 5 };
  const body = encodeTasks([{ head, payload }]);
  expect(decodeTasks(body.subarray(0, -1))).toEqual({
    problem: "payloads of 5 bytes announced, 4 came",
  });
  expect(decodeTasks(new Uint8Array([...body, 1]))).toEqual({
    problem: "payloads of 5 bytes announced, 6 came",
  });
});
