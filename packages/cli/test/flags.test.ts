import { describe, expect, test } from "vitest";
import { filterOf } from "../src/filters.ts";
import {
  choiceFlag,
  countFlag,
  durationFlag,
  handleFlag,
  handleFlags,
  labelFlags,
  nodeIdArg,
  rateFlag,
  taskIdArg,
} from "../src/flags.ts";
import { submitOptions } from "../src/submit.ts";
import { serviceFilter } from "../src/task-list.ts";

describe("a flag's value", () => {
  test.each([
    ["500ms", 500],
    ["30s", 30_000],
    ["5m", 300_000],
    ["24h", 86_400_000],
  ])("%s is a duration", (text, ms) => {
    expect(durationFlag("--timeout", text)).toBe(ms);
  });

  test.each(["", "30", "0s", "25h", "soon", "-1s"])("%j is no duration", (text) => {
    expect(() => durationFlag("--timeout", text)).toThrow(/--timeout .* is no duration/);
  });

  test.each([
    ["0", 0],
    ["12", 12],
  ])("%s is a count", (text, count) => {
    expect(countFlag("--nodes", text, { min: 0, max: 12 })).toBe(count);
  });

  test.each(["", "13", "-1", "1.5", "1e1", "three"])("%j is no count up to 12", (text) => {
    expect(() => countFlag("--nodes", text, { min: 0, max: 12 })).toThrow(
      "is no whole number from 0 to 12",
    );
  });

  test("labels come one by one or joined by commas", () => {
    expect(labelFlags("--label", ["zone=eu,gpu=a100", "disk=ssd"])).toEqual({
      zone: "eu",
      gpu: "a100",
      disk: "ssd",
    });
    for (const bad of ["zone", "=eu", "zone=", "a b=c"]) {
      expect(() => labelFlags("--label", [bad])).toThrow("is not like zone=eu");
    }
  });

  test("a handler has a capability and a command, which may hold anything", () => {
    expect(handleFlag("wordcount=wc -w")).toEqual({ capability: "wordcount", spec: "wc -w" });
    expect(handleFlag("env=A=b sh -c 'x=1'").spec).toBe("A=b sh -c 'x=1'");
    for (const bad of ["wordcount", "=cat", "echo=", "a.b=cat"]) {
      expect(() => handleFlag(bad)).toThrow("--handle");
    }
    expect(() => handleFlags(["a=cat", "a=wc"])).toThrow("a is given twice");
  });

  test("ids and choices are checked", () => {
    expect(nodeIdArg("n-1")).toBe("n-1");
    expect(() => nodeIdArg("n.1")).toThrow("no node id");
    expect(taskIdArg("t_1")).toBe("t_1");
    expect(() => taskIdArg("*")).toThrow("no task id");
    expect(choiceFlag("-o", "json", ["table", "json"])).toBe("json");
    expect(() => choiceFlag("-o", "yaml", ["table", "json"])).toThrow("one of table, json");
  });
});

describe("the flags of", () => {
  test("task submit become options", () => {
    expect(
      submitOptions({ lane: "high", maxAttempts: "2", requires: ["zone=eu"], waitTimeout: "1h" }),
    ).toMatchObject({ lane: "high", maxAttempts: 2, requires: { zone: "eu" } });
    expect(() => submitOptions({ lane: "fast", waitTimeout: "1h" })).toThrow("--lane");
    expect(() => submitOptions({ strategy: "best", waitTimeout: "1h" })).toThrow("--strategy");
    expect(() => submitOptions({ maxAttempts: "0", waitTimeout: "1h" })).toThrow("--max-attempts");
  });

  test("lists become a filter", () => {
    const now = Date.now();
    const filter = filterOf({ status: "failed", node: "n1", olderThan: "1h", newerThan: "7d" });
    expect(filter).toMatchObject({ status: "failed", node: "n1", capability: undefined });
    expect(Math.abs((filter.beforeMs ?? 0) - (now - 3_600_000))).toBeLessThan(10_000);
    expect(Math.abs((filter.afterMs ?? 0) - (now - 7 * 86_400_000))).toBeLessThan(10_000);
    expect(() => filterOf({ status: "lost" })).toThrow("--status");
    expect(() => filterOf({ capability: "a.b" })).toThrow("--capability");
    expect(() => filterOf({ olderThan: "soon" })).toThrow("--older-than");
    expect(serviceFilter({ status: "failed", limit: "5" })).toEqual({ status: "failed", limit: 6 });
    expect(serviceFilter({ limit: "5000" })).toEqual({ limit: 1_000 });
  });

  test("a rate is so many a second", () => {
    expect([rateFlag("--rate", "50/s"), rateFlag("--rate", "30/m")]).toEqual([50, 0.5]);
    for (const bad of ["50", "0/s", "5/h", "-1/s"]) {
      expect(() => rateFlag("--rate", bad)).toThrow("--rate");
    }
  });
});
