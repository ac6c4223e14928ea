/** `top` on a real mesh: once, as JSON, and in a terminal with keys. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { test as base } from "@swarm-mesh/testkit";
import { expect, onTestFinished } from "vitest";
import { SmallMesh } from "./small-mesh.ts";

const BIN = join(import.meta.dirname, "..", "bin", "swarmctl.js");
const PATIENCE_MS = 15_000;
const TEST_MS = 60_000;

const test = base.extend<{ readonly mesh: SmallMesh }>({
  mesh: async ({ deps, server, run }, use) => {
    await use(await SmallMesh.start({ deps, server, run }));
  },
});

/** A command in a terminal of its own, as `script` makes one, until its test is over. */
class Terminal {
  readonly #child;
  readonly ended: Promise<number | null>;
  shown = "";

  constructor(command: string) {
    const sized = `stty cols 120 rows 30; ${command}`;
    this.#child = spawn("script", ["-qefc", sized, "/dev/null"], {
      // Where CI is set, ink draws once, at the end.
      env: { PATH: process.env["PATH"], TERM: "xterm" },
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#child.stdout.on("data", (data) => {
      this.shown += String(data);
    });
    this.ended = new Promise((resolve) => this.#child.once("exit", resolve));
    onTestFinished(() => void this.#child.kill("SIGKILL"));
  }

  type(keys: string): void {
    this.shown = "";
    this.#child.stdin.write(keys);
  }

  /** Waits until this was printed since the last key. */
  async sees(pattern: RegExp): Promise<void> {
    const text = (): string => stripVTControlCharacters(this.shown);
    await expect.poll(text, { timeout: PATIENCE_MS }).toMatch(pattern);
  }
}

test("once, it prints a picture", { timeout: TEST_MS }, async ({ mesh }) => {
  await mesh.swarmctl(["task", "submit", "nobody", "--id", "w1", "--lane", "high"]);
  await mesh.swarmctl(["task", "submit", "echo", "hi", "--wait"]);
  await mesh.swarmctl(["capability", "pause", "echo", "--reason", "new model"]);
  await mesh.swarmctl(["task", "submit", "echo", "hi"]);
  await expect
    .poll(async () => (await mesh.swarmctl(["top"])).stdout, { timeout: PATIENCE_MS })
    .toMatch(/^echo +1 +2 +0 +1 +0 +0 +1 +0 .* new model$/m);
  const { stdout } = await mesh.swarmctl(["top", "--once"]);
  expect(stdout).toMatch(/^swarmctl top {2}live {2}\d\d:\d\d:\d\d UTC {2}test-1 leads, epoch \d+ /);
  expect(stdout).toMatch(/^nobody +0 +0 +0 +1 +0 +1 +0 +0 +\d+m?s /m);
  expect(stdout).toMatch(/^n1 +ACTIVE +0\/2 /m);
  expect(await mesh.json("top")).toMatchObject({
    fresh: { linked: true },
    leader: { instance: "test-1" },
    nodes: [{ id: "n1", state: "ACTIVE" }],
    paused: ["echo"],
    dead: 0,
  });
  expect((await mesh.swarmctl(["top", "--view", "events"])).stdout).toContain("node n1 joined");
  expect(await mesh.swarmctl(["top", "--view", "moon"])).toMatchObject({ status: 2 });
});

test("in a terminal it shows what happens, and obeys keys", { timeout: TEST_MS }, async ({
  mesh,
}) => {
  const terminal = new Terminal(`'${process.execPath}' '${BIN}' top --server ${mesh.url}`);
  await terminal.sees(/swarmctl top {2}live [\s\S]*nodes {3}1 ACTIVE/);
  terminal.type("4");
  await terminal.sees(/\[4 tasks\]/);
  await mesh.swarmctl(["task", "submit", "fail", "--id", "f1", "--max-attempts", "1"]);
  await terminal.sees(/f1 +fail +normal +failed +1 +n1 /);
  terminal.type("\r");
  await terminal.sees(/why task f1\s[\s\S]*f1 failed at .*disk full \(disk_full\)/);
  terminal.type("\u001b");
  await terminal.sees(/\[4 tasks\]/);
  terminal.type("/zzz\r");
  await terminal.sees(/\/zzz/);
  terminal.type("q");
  expect(await terminal.ended).toBe(0);
  // The screen that was there before is back.
  expect(terminal.shown).toContain("\u001b[?1049l");
});
