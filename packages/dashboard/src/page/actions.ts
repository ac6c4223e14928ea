/** What an admin may do from the page. Each asks the mesh, and says what it answered. */
import { jetstream } from "@nats-io/jetstream";
import { NoRespondersError, headers as newHeaders } from "@nats-io/nats-core";
import {
  cancelSubject,
  check,
  DrainOrder,
  decode,
  encode,
  Header,
  Lane,
  MESH_DEAD,
  nodeSubject,
  Refusal,
  retryId,
  submitSubject,
  TaskRecord,
} from "@swarm-mesh/protocol";
import { z } from "zod";
import { type Letter, submitAgain } from "./letters.ts";
import type { MeshView } from "./mesh-view.ts";

const REQUEST_TIMEOUT_MS = 5_000;

const Draining = z.object({ draining: z.boolean() });

/** Has a node take nothing new, finish and leave. */
export async function drainNode(view: MeshView, id: string): Promise<string> {
  const order = DrainOrder.parse({ reason: "drained from the dashboard" });
  await ask(view, nodeSubject(id, "drain"), encode(order), Draining);
  return `${id} drains.`;
}

/** Cancels a task that has no end yet. */
export async function cancelTask(view: MeshView, id: string): Promise<string> {
  const record = await ask(view, cancelSubject(id), "", TaskRecord);
  return `${id} is ${record.status}.`;
}

/**
 * Submits a dead task again as it was, under the id that `swarmctl dead retry` would give it: doing it
 * twice runs it once.
 */
export async function retryLetter(view: MeshView, letter: Letter): Promise<string> {
  const message = await view.manager.streams.getMessage(MESH_DEAD.name, { seq: letter.seq });
  if (message === null) throw new Error("the letter is gone");
  const id = retryId(letter.task, letter.seq);
  const headers = newHeaders();
  for (const [name, value] of submitAgain(letter)) headers.set(name, value);
  headers.set(Header.msgId, id);
  const lane = check(Lane, letter.lane);
  const subject = submitSubject(letter.capability, lane.ok ? lane.value : "normal");
  const ack = await jetstream(view.link.nc).publish(subject, message.data, { headers });
  return ack.duplicate ? `${id} was submitted before.` : `${id} is submitted.`;
}

async function ask<S extends z.ZodType>(
  view: MeshView,
  subject: string,
  body: string,
  schema: S,
): Promise<z.infer<S>> {
  let data: Uint8Array;
  try {
    ({ data } = await view.link.nc.request(subject, body, { timeout: REQUEST_TIMEOUT_MS }));
  } catch (error) {
    const nobody = error instanceof Error && error.cause instanceof NoRespondersError;
    if (nobody || error instanceof NoRespondersError) throw new Error("Nobody is there to do it.");
    throw error;
  }
  const refusal = decode(Refusal, data);
  if (refusal.ok) throw new Error(refusal.value.error.message);
  const answer = decode(schema, data);
  if (!answer.ok) throw new Error(`an answer nobody understands: ${answer.problem}`);
  return answer.value;
}
