import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { run } from "../src/main.ts";
import { FakeIo } from "./fake-io.ts";

async function script(shell: string): Promise<string> {
  const io = new FakeIo();
  expect(await run(["completion", shell], io)).toBe(0);
  return io.stdout;
}

test("bash completes commands, their commands and their flags", async () => {
  const bash = await script("bash");
  const complete = (...words: string[]): string[] => {
    const typed = words.map((word) => `'${word}'`).join(" ");
    const test = `${bash}\nCOMP_WORDS=(swarmctl ${typed}); COMP_CWORD=${words.length}; _swarmctl; echo "\${COMPREPLY[*]}"`;
    return execFileSync("bash", ["-c", test], { encoding: "utf8" }).trim().split(" ");
  };
  expect(complete("ta")).toEqual(["task"]);
  expect(complete("task", "")).toEqual(expect.arrayContaining(["submit", "get", "wait"]));
  expect(complete("task", "submit", "--wait")).toEqual(["--wait", "--wait-timeout"]);
  expect(complete("-o", "json", "node", "run", "--dr")).toEqual(["--drain-timeout"]);
  expect(complete("node", "list", "--out")).toEqual(["--output"]);
  expect(bash).not.toContain("stop-with-parent");
});

test("zsh and fish get scripts of their own", async () => {
  const zsh = await script("zsh");
  expect(zsh).toMatch(/^#compdef swarmctl\n/);
  expect(zsh).toContain("'submit:submit a task'");
  const fish = await script("fish");
  expect(fish).toContain("complete -c swarmctl -n 'not __fish_seen_subcommand_from dev task");
  expect(fish).toMatch(/__fish_seen_subcommand_from task; and not .* -f -a submit -d/);
});

test("another shell is a usage error", async () => {
  const io = new FakeIo();
  expect(await run(["completion", "cmd"], io)).toBe(2);
  expect(io.stderr).toContain("Allowed choices are bash, zsh, fish");
});
