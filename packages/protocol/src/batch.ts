/**
 * Several tasks in one message, several outcomes in one request.
 *
 * What is due to one node in the same turn travels together: a message costs the server, the sender
 * and the receiver more than the task in it. A node says in its registration that it reads batches;
 * one that does not is sent each task by itself, and may report each outcome by itself.
 *
 *     mesh.node.<node>.tasks            [{…}, {…}]\n<payload><payload>
 *     mesh.tasks.outcomes.<node>        [{…}, {…}]        answered { answers: [ … ] }
 */
import { z } from "zod";
import { decode } from "./decode.ts";
import { Capability, TaskId } from "./names.ts";
import { TaskSignature } from "./signature.ts";
import { NamedOutcome } from "./task.ts";

/** Tasks or outcomes in one batch; further ones go in the next. */
export const BATCH_MAX = 256;
/** Bytes of one batch. What is larger by itself travels by itself. */
export const BATCH_MAX_BYTES = 256 * 1024;

/** One task of a batch: what a dispatch has in its headers. Epoch and incarnation are the batch's. */
export const TaskHead = z.object({
  taskId: TaskId,
  capability: Capability,
  attempt: z.int().positive(),
  timeoutMs: z.int().positive(),
  trace: z.string().optional(),
  /** Of a signed task: its signature, and `Mesh-Requires`, which is signed as well. */
  signed: TaskSignature.extend({ requires: z.string().optional() }).optional(),
  /** Length of its payload. */
  bytes: z.int().nonnegative(),
});
export type TaskHead = z.infer<typeof TaskHead>;

const TaskHeads = z.array(TaskHead).min(1).max(BATCH_MAX);

/** A task of a batch and its payload. */
export interface BatchedTask {
  readonly head: TaskHead;
  readonly payload: Uint8Array;
}

const NEWLINE = 0x0a;
const encoder = new TextEncoder();

/** The body of `mesh.node.<node>.tasks`: the heads on one line of JSON, then the payloads. */
export function encodeTasks(tasks: readonly BatchedTask[]): Uint8Array {
  const heads = encoder.encode(`${JSON.stringify(tasks.map(({ head }) => head))}\n`);
  const bytes = tasks.reduce((sum, { payload }) => sum + payload.length, heads.length);
  const body = new Uint8Array(bytes);
  body.set(heads);
  let at = heads.length;
  for (const { payload } of tasks) {
    body.set(payload, at);
    at += payload.length;
  }
  return body;
}

/** Reads a body of {@link encodeTasks}. The payloads are views of `body`. */
export function decodeTasks(
  body: Uint8Array,
): { readonly tasks: readonly BatchedTask[] } | { readonly problem: string } {
  const end = body.indexOf(NEWLINE);
  if (end < 0) return { problem: "a batch begins with a line of JSON" };
  const heads = decode(TaskHeads, body.subarray(0, end));
  if (!heads.ok) return { problem: heads.problem };
  let at = end + 1;
  const tasks = heads.value.map((head) => {
    const payload = body.subarray(at, at + head.bytes);
    at += head.bytes;
    return { head, payload };
  });
  if (at !== body.length) {
    return {
      problem: `payloads of ${at - end - 1} bytes announced, ${body.length - end - 1} came`,
    };
  }
  return { tasks };
}

/** Body of `mesh.tasks.outcomes.<node>`: outcomes, each with its task. */
export const OutcomeBatch = z.array(NamedOutcome).min(1).max(BATCH_MAX);
export type OutcomeBatch = z.infer<typeof OutcomeBatch>;

/**
 * Answer to a batch of outcomes, in their order. `again`: nothing is known of this one; send it
 * once more, by itself.
 */
export const OutcomeBatchAnswer = z.object({
  answers: z.array(z.enum(["recorded", "stale", "again"])),
});
export type OutcomeBatchAnswer = z.infer<typeof OutcomeBatchAnswer>;
