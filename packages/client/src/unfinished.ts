/**
 * Tells from a record's first bytes that it is not final.
 *
 * Whoever waits for the end hears of every step on the way; parsing and checking those costs more
 * than all else that is done for a task.
 */
import { isFinal, TaskStatus } from "@swarm-mesh/protocol";

/** More than what stands before the status, with names of full length. */
const HEAD_BYTES = 512;
const FIELD = '"status":"';
const UNFINISHED = TaskStatus.options.filter((status) => !isFinal(status));

/**
 * The record as text, a character for each byte, when it is certain not to be final. `undefined`
 * when it may be, or when that cannot be told from its head: then it has to be decoded.
 *
 * Certain, because a quote within a string is escaped, so the text found is a field; and because no
 * object but the record itself was opened before it.
 */
export function unfinishedText(record: Uint8Array): string | undefined {
  const bytes = Buffer.isBuffer(record)
    ? record
    : Buffer.from(record.buffer, record.byteOffset, record.byteLength);
  const head = bytes.toString("latin1", 0, HEAD_BYTES);
  const at = head.indexOf(FIELD);
  if (at < 1 || head[at - 1] === "\\" || head.lastIndexOf("{", at) !== 0) return undefined;
  const value = at + FIELD.length;
  if (!UNFINISHED.some((status) => head.startsWith(`${status}"`, value))) return undefined;
  return record.length <= HEAD_BYTES ? head : bytes.toString("latin1");
}

/** The bytes that {@link unfinishedText} gave the text of. */
export function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}
