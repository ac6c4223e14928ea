/** How pages are read and judged: a check that lets everything pass would be worth nothing. */
import { describe, expect, test } from "vitest";
import { commandsOf } from "./commands.ts";
import { anchorsOf, blocksOf, spansOf } from "./markdown.ts";
import { differenceOf } from "./output.ts";
import { problemOf } from "./swarmctl.ts";

const PAGE = `# Drain *it*

Type \`swarmctl status\`:

\`\`\`sh terminal=mesh stays
npm start
\`\`\`

1. Nested:

   \`\`\`sh no-run: needs two machines
   reboot
   \`\`\`
`;

test("a page's blocks, spans and anchors are found where they are", () => {
  const [first, second] = blocksOf("a.md", PAGE);
  expect(first).toMatchObject({ line: 5, lang: "sh", body: "npm start", noRun: undefined });
  expect([...(first?.words ?? [])]).toEqual([
    ["terminal", "mesh"],
    ["stays", ""],
  ]);
  expect(second).toMatchObject({ line: 11, body: "reboot", noRun: "needs two machines" });
  expect(spansOf(PAGE)).toEqual([{ line: 3, code: "swarmctl status" }]);
  expect(anchorsOf(PAGE)).toEqual(["drain-it"]);
  expect(() => blocksOf("a.md", "```sh\nls")).toThrow("a.md:1: the fence is not closed");
});

test.each([
  ["ls -l # list", [["ls", "-l"]]],
  ["a | b && c; d &\ne", [["a"], ["b"], ["c"], ["d"], ["e"]]],
  ["A=1 npx swarmctl task submit x 'a b' > out 2>&1", [["swarmctl", "task", "submit", "x", "a b"]]],
  ['run "say \\"x; y\\"" <in', [["run", 'say \\"x; y\\"']]],
  ["a \\\n  b", [["a", "b"]]],
  ["(cd x && ls)", [["cd", "x"], ["ls"]]],
  [
    "kill $(pid of x)",
    [
      ["kill", "0"],
      ["pid", "of", "x"],
    ],
  ],
])("%s is read word by word", (script, commands) => {
  expect(commandsOf(script)).toEqual(commands);
});

describe("a command of swarmctl", () => {
  test.each([
    "status",
    "--help",
    "task submit echo hi --wait -o json",
    "node drain n1 --deadline 1m",
    "why capability gpu",
  ])("is right: %s", (command) => {
    expect(problemOf(command.split(" "), false)).toBeUndefined();
  });

  test.each([
    ["stats", "unknown command 'stats'"],
    ["task submit echo --now", "unknown option '--now'"],
    ["node drain", "missing required argument 'id'"],
    ["node run --handle a=b", "required option '--id <id>' not specified"],
    ["status n1", "too many arguments"],
  ])("is wrong: %s", (command, problem) => {
    expect(problemOf(command.split(" "), false)).toContain(problem);
  });

  test("may leave its arguments away in passing, and no more", () => {
    expect(problemOf(["node", "drain"], true)).toBeUndefined();
    expect(problemOf(["node", "run", "--id"], true)).toBeUndefined();
    expect(problemOf(["node", "drained"], true)).toContain("unknown command");
  });
});

describe("what is printed", () => {
  const exact = { numbers: false };
  test.each([
    ["3", "3\n"],
    ["a  b", "a b   "],
    ["at 12:04:10.583, 2026-11-21T12:04:10.583Z", "at 13:00:00, 2027-01-01T00:00:00Z"],
    ["took 9s, after 1.6 s", "took 231ms, after 2 s"],
    ["task … failed", "task 26582b3c failed"],
    ["…\nlast", "first\nsecond\nlast"],
    ["a\n…", "a"],
    ["green", "\u001b[32mgreen\u001b[0m"],
  ])("is what the page shows: %j", (shown, printed) => {
    expect(differenceOf(shown, printed, exact)).toBeUndefined();
  });

  test.each([
    ["3", "4"],
    ["a", "a\nb"],
    ["a\nb", "a"],
    ["task … failed", "task x succeeded"],
    ["…\nlast", "last\nbut one"],
    ["a.c", "abc"],
  ])("is not what the page shows: %j", (shown, printed) => {
    expect(differenceOf(shown, printed, exact)).toContain("printed was:");
  });

  test("may have other numbers where the page says so, and nothing else", () => {
    expect(differenceOf("pid 10", "pid 7", { numbers: true })).toBeUndefined();
    expect(differenceOf("pid 10", "id 7", { numbers: true })).toContain("printed was:");
  });
});
