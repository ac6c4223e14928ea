import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test as base, expect } from "vitest";
import { run } from "../src/main.ts";
import { FakeIo } from "./fake-io.ts";

const test = base.extend<{ dir: string; io: FakeIo }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
  dir: async ({}, use) => {
    const dir = await mkdtemp(join(tmpdir(), "mesh-check-"));
    await use(dir);
    await rm(dir, { recursive: true, force: true });
  },
  io: async ({ dir }, use) => {
    await use(new FakeIo({ cwd: dir }));
  },
});

const lines = (...entries: readonly object[]): string =>
  entries.map((entry) => `${JSON.stringify({ at: 1, by: "test", ...entry })}\n`).join("");
const ACKNOWLEDGED = { what: "acknowledged", task: "t1" };
const END = { what: "end" };
const waiting = (...tasks: readonly string[]) => ({ what: "waiting-at-end", tasks });
const started = { what: "started", task: "t2", attempt: 1, pid: 7 };

test("a clean history ends with 0", async ({ dir, io }) => {
  await writeFile(join(dir, "h.jsonl"), lines(ACKNOWLEDGED, waiting("t1"), END));
  expect(await run(["check", "h.jsonl"], io)).toBe(0);
  expect(io.stdout).toMatch(/^lines +3\ntasks +1, 1 acknowledged, 0 ended\n/);
  expect(io.stdout).toMatch(/\nno violation of \d+ rules\n$/);
  expect(io.stderr).toBe("");
});

test("a broken one ends with 1, and tells rule, task, what and where", async ({ dir, io }) => {
  await writeFile(join(dir, "h.jsonl"), lines(ACKNOWLEDGED, waiting(), END));
  expect(await run(["check", "h.jsonl"], io)).toBe(1);
  expect(io.stdout).toMatch(
    /acknowledged-is-kept +t1 +was acknowledged, and has neither .* +h\.jsonl:1 h\.jsonl:3\n/,
  );
  expect(io.stdout).toMatch(/\n1 violation of 1 rule\n$/);
});

test("several files are one history", async ({ dir, io }) => {
  await writeFile(join(dir, "a.jsonl"), lines(started));
  await writeFile(join(dir, "b.jsonl"), lines(END, { ...started, pid: 8 }));
  expect(await run(["check", "a.jsonl", "b.jsonl"], io)).toBe(1);
  expect(io.stdout).toMatch(/attempt-runs-once +t2 +.* +a\.jsonl:1 b\.jsonl:2\n/);
});

test.for([["--json"], ["-o", "json"]])("%s prints the verdict", async (flags, { io }) => {
  io.typed = lines(ACKNOWLEDGED, waiting(), END);
  expect(await run(["check", "-", ...flags], io)).toBe(1);
  expect(JSON.parse(io.stdout)).toMatchObject({
    ...{ lines: 3, tasks: 1, acknowledged: 1, final: 0, records: 0, runs: 0, complete: true },
    violations: [
      {
        rule: "acknowledged-is-kept",
        task: "t1",
        evidence: [
          { source: "-", line: 1 },
          { source: "-", line: 3 },
        ],
      },
    ],
  });
});

test("a history without an end says what is not concluded", async ({ io }) => {
  io.typed = lines(ACKNOWLEDGED, waiting());
  expect(await run(["check", "-"], io)).toBe(0);
  expect(io.stdout).toContain("the history has no end");
});

test("a line that is none is a usage error that names it", async ({ dir, io }) => {
  await writeFile(join(dir, "h.jsonl"), `${lines(END)}{"what":"end"}\n`);
  expect(await run(["check", "h.jsonl"], io)).toBe(2);
  expect(io.stderr).toMatch(/^swarmctl: h\.jsonl:2: at: .*expected number/);
  expect(io.stdout).toBe("");
});

test("a file that is not there is not found", async ({ io }) => {
  expect(await run(["check", "nowhere.jsonl"], io)).toBe(3);
  expect(io.stderr).toBe("swarmctl: there is no file nowhere.jsonl\n");
});

test("no file at all is a usage error", async ({ io }) => {
  expect(await run(["check"], io)).toBe(2);
});

test("many violations are cut for people", async ({ io }) => {
  const many = Array.from({ length: 60 }, (_, index) => ({ ...ACKNOWLEDGED, task: `t${index}` }));
  io.typed = lines(...many, waiting(), END);
  expect(await run(["check", "-"], io)).toBe(1);
  expect(io.stdout).toContain("\nand 10 more; --json has all\n");
  expect(io.stdout).toMatch(/\n60 violations of 1 rule\n$/);
});
