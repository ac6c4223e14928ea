import type { TaskRecord } from "@swarm-mesh/protocol";
import { expect, test } from "vitest";
import { backlogOf, runningOf } from "../src/status.ts";

const running = { id: "t1", capability: "echo", status: "running" } as TaskRecord;
const stored = { "mesh.tasks.submit.echo": 3 };

test.for([
  { what: "all of it", list: { tasks: [running], complete: true }, counted: 1 },
  { what: "a part of it", list: { tasks: [running], complete: false }, counted: null },
  { what: "too much", list: { tasks: Array(1_000).fill(running), complete: true }, counted: null },
  { what: "nothing, by nobody", list: undefined, counted: null },
])("of what runs, $what is known: status says $counted", ({ list, counted }) => {
  expect(backlogOf(stored, runningOf(list)).capabilities).toEqual([
    { capability: "echo", stored: { normal: 3 }, running: counted },
  ]);
});
