import { NoRespondersError, RequestError, TimeoutError } from "nats";
import { describe, expect, test } from "vitest";
import { problemOfStore, readArgs } from "../src/why/why.ts";

describe("the question", () => {
  test("is a kind and a name, or a name alone", () => {
    expect(readArgs(["task", "t1"])).toEqual({ kind: "task", id: "t1" });
    expect(readArgs(["node", "task"])).toEqual({ kind: "node", id: "task" });
    expect(readArgs(["capability", "gpu"])).toEqual({ kind: "capability", id: "gpu" });
    expect(readArgs(["t1"])).toEqual({ kind: undefined, id: "t1" });
  });

  test.each([
    [["task"]],
    [["a.b"]],
    [["job", "t1"]],
    [["task", "a.b"]],
    [["node", "a b"]],
    [["capability", "é"]],
  ])("%j is a usage error", (args) => {
    expect(() => readArgs(args)).toThrow(expect.objectContaining({ status: 2 }));
  });
});

test.each([
  new TimeoutError(),
  new NoRespondersError("$JS.API.STREAM.INFO.KV_mesh_tasks"),
  new RequestError("no answer", { cause: new NoRespondersError("$JS.API.INFO") }),
])("that the store is away is told by %o", (error) => {
  expect(problemOfStore(error)).toBe(error.message);
  expect(problemOfStore(new Error(error.message))).toBeUndefined();
});
