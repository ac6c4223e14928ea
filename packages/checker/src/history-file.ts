/** Histories as files: a writer that appends, a reader that streams. */
import { createReadStream, createWriteStream } from "node:fs";
import { finished } from "node:stream/promises";
import { decode, encode } from "@swarm-mesh/protocol";
import { type HistoryEntry, HistoryLine } from "./history.ts";

/** Writes lines to the end of a file or stream. Lines are buffered by the stream, in order. */
export class HistoryWriter {
  readonly #out: NodeJS.WritableStream;
  #failure: unknown;

  /** `out`: a file's path, which is appended to, or a stream, which {@link close} ends. */
  constructor(out: string | NodeJS.WritableStream) {
    this.#out = typeof out === "string" ? createWriteStream(out, { flags: "a" }) : out;
    this.#out.on("error", (error) => {
      this.#failure ??= error;
    });
  }

  /** Appends a line. Throws when an earlier write failed: a history with a hole proves nothing. */
  write(entry: HistoryEntry): void {
    if (this.#failure !== undefined) throw this.#failure;
    this.#out.write(`${encode(entry)}\n`);
  }

  /** Ends the stream; resolves when every line has been handed over. Rejects when a write failed. */
  async close(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const done = finished(this.#out);
    this.#out.end();
    await done;
  }
}

/** A line that is none. `message` names the place and what was expected. */
export class HistoryError extends Error {
  override readonly name = "HistoryError";
  readonly source: string;
  /** From 1. */
  readonly line: number;

  constructor(source: string, line: number, problem: string) {
    super(`${source}:${line}: ${problem}`);
    this.source = source;
    this.line = line;
  }
}

/** A line and where it stands, from 1. */
export interface NumberedLine {
  readonly number: number;
  readonly line: HistoryLine;
}

/**
 * Reads a history as it comes. Empty lines are passed over.
 *
 * `input`: a file's path, or the bytes, in pieces of any size. `source`: its name in errors; default
 * the path. Throws {@link HistoryError} at the first line that is none.
 */
export async function* readHistory(
  input: string | AsyncIterable<Uint8Array>,
  source = typeof input === "string" ? input : "history",
): AsyncGenerator<NumberedLine> {
  let number = 0;
  const bytes: AsyncIterable<Uint8Array> =
    typeof input === "string" ? createReadStream(input) : input;
  for await (const text of linesOf(bytes)) {
    number++;
    if (text.length === 0) continue;
    const line = decode(HistoryLine, text);
    if (!line.ok) throw new HistoryError(source, number, line.problem);
    yield { number, line: line.value };
  }
}

const NEWLINE = 0x0a;

/** Cuts at each newline. Bytes, not text: a piece may end within a character. */
async function* linesOf(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let rest: Uint8Array[] = [];
  for await (const piece of pieces) {
    let start = 0;
    for (let end = piece.indexOf(NEWLINE); end >= 0; end = piece.indexOf(NEWLINE, start)) {
      yield Buffer.concat([...rest, piece.subarray(start, end)]);
      rest = [];
      start = end + 1;
    }
    if (start < piece.length) rest.push(piece.subarray(start));
  }
  if (rest.length > 0) yield Buffer.concat(rest);
}
