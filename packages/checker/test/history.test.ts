import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test as base, expect } from "vitest";
import { HistoryError, type HistoryLine, HistoryWriter, readHistory } from "../src/mod.ts";
import { line, record } from "./lines.ts";

const test = base.extend<{ dir: string }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
  dir: async ({}, use) => {
    const dir = await mkdtemp(join(tmpdir(), "mesh-history-"));
    await use(dir);
    await rm(dir, { recursive: true, force: true });
  },
});

async function linesOf(input: string | AsyncIterable<Uint8Array>): Promise<HistoryLine[]> {
  const lines: HistoryLine[] = [];
  for await (const numbered of readHistory(input)) {
    expect(numbered.number).toBe(lines.length + 1);
    lines.push(numbered.line);
  }
  return lines;
}

async function* pieces(...texts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* texts;
}

const SOME = [
  line(0, "watching", { kinds: ["records"] }),
  line(1, "acknowledged", { task: "t1" }),
  record(2, 1, { progress: "Grüße ✓" }),
  line(3, "end"),
];

test("what was written is read", async ({ dir }) => {
  const file = join(dir, "history.jsonl");
  const writer = new HistoryWriter(file);
  for (const one of SOME) writer.write(one);
  await writer.close();
  expect(await linesOf(file)).toEqual(SOME);
});

test("a second writer goes on where the first ended", async ({ dir }) => {
  const file = join(dir, "history.jsonl");
  for (const one of SOME) {
    const writer = new HistoryWriter(file);
    writer.write(one);
    await writer.close();
  }
  expect(await linesOf(file)).toEqual(SOME);
});

test("bytes may come in pieces of any size", async ({ dir }) => {
  const file = join(dir, "history.jsonl");
  const writer = new HistoryWriter(file);
  for (const one of SOME) writer.write(one);
  await writer.close();
  const bytes = await readFile(file);
  const single = [...bytes].map((byte) => Uint8Array.of(byte));
  expect(await linesOf(pieces(...single))).toEqual(SOME);
  // The last line may lack its newline.
  expect(await linesOf(pieces(bytes.subarray(0, -1)))).toEqual(SOME);
});

test.each([
  ["no JSON", "nonsense", "not JSON"],
  ["no line", '{"at":1,"by":"me","what":"danced"}', "what"],
  ["no time", '{"by":"me","what":"end"}', "at: Invalid input: expected number"],
  ["no task id", '{"at":1,"by":"me","what":"acknowledged","task":"a b"}', "task: a task id must"],
  ["half a line", '{"at":1,"by":"me","what":"e', "not JSON"],
])("%s is an error that names its place", async (_, text, problem) => {
  const good = '{"at":1,"by":"me","what":"end"}\n\n';
  const reading = linesOfAny(pieces(Buffer.from(good + text)));
  const error = await reading.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(HistoryError);
  expect(error).toMatchObject({ source: "history", line: 3 });
  expect(String(error)).toContain(`history:3: ${problem}`);
});

async function linesOfAny(input: AsyncIterable<Uint8Array>): Promise<number> {
  let count = 0;
  for await (const _ of readHistory(input)) count++;
  return count;
}

test("a writer whose file cannot be written says so", async ({ dir }) => {
  const file = join(dir, "file");
  await writeFile(file, "");
  const writer = new HistoryWriter(join(file, "below-a-file.jsonl"));
  writer.write(line(0, "end"));
  await expect(writer.close()).rejects.toThrow(/ENOTDIR|EEXIST/);
  expect(() => writer.write(line(0, "end"))).toThrow();
});
