import { resolve } from "node:path";
import { expect, test } from "vitest";
import { MeshNode, parseHandlerFlag, SetupError } from "../src/mod.ts";

test.for([
  ["an id that is no token", () => new MeshNode({ id: "a.b" }), "A-Z a-z 0-9"],
  ["no slots", () => new MeshNode({ id: "n", slots: 0 }), "slots"],
  [
    "an agent twice",
    () => new MeshNode({ id: "n", agents: [agent("a"), agent("a")] }),
    "two agents are named a",
  ],
  ["an agent's bad name", () => new MeshNode({ id: "n", agents: [agent("a b")] }), '"a b"'],
  ["a bad capability", () => named("n").handle("a b", () => 1), 'capability "a b"'],
  [
    "a capability twice",
    () =>
      named("n")
        .handle("a", () => 1)
        .handle("a", () => 1),
    "already",
  ],
  ["an unknown agent", () => named("n").handle("a", { agent: "gpu" }, () => 1), "only main"],
] as const)("refuses %s", ([, make, problem]) => {
  expect(make).toThrow(SetupError);
  expect(make).toThrow(problem);
});

test("refuses to start without a handler, twice, or with labels that cannot be", async () => {
  await expect(named("n").start()).rejects.toThrow("handle()");
  const bad = new MeshNode({ id: "n", labels: { "a b": "c" } }).handle("a", () => 1);
  await expect(bad.start()).rejects.toThrow("labels");
  await expect(bad.start()).rejects.toThrow("once");
  expect(() => bad.handle("b", () => 1)).toThrow("before start()");
  expect(await bad.closed).toBeInstanceOf(SetupError);
});

test("reads the command line's --handle", () => {
  expect(parseHandlerFlag("wordcount=wc -w")).toMatchObject({ capability: "wordcount" });
  expect(parseHandlerFlag("env=A=b env")).toMatchObject({ capability: "env" });
  expect(parseHandlerFlag(`thumb=module:${resolve("thumb.js")}`).handler.open).toBeDefined();
});

test.for([
  ["wc -w", 'no "="'],
  ["=wc", "capability"],
  ["a b=wc", '"a b"'],
  ["wc=", "no command"],
  ["wc=module:", "no file"],
] as const)("refuses --handle %s", ([flag, problem]) => {
  expect(() => parseHandlerFlag(flag)).toThrow(SetupError);
  expect(() => parseHandlerFlag(flag)).toThrow(problem);
});

function agent(name: string) {
  return { name, slots: 1 };
}

function named(id: string): MeshNode {
  return new MeshNode({ id });
}
