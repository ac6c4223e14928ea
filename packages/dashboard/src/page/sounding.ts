/**
 * How much waits. Nothing announces it, so the streams are asked, every two seconds: the one thing
 * on the page that is polled.
 */
import type { JetStreamManager } from "@nats-io/jetstream";
import {
  MESH_DEAD,
  MESH_RETRIES,
  MESH_TASKS,
  retrySubject,
  SUBMIT_ALL,
  tokenOf,
} from "@swarm-mesh/protocol";

export const SOUNDING_MS = 2_000;

export interface Depths {
  /** Messages of tasks: waiting, running, and waiting for their next try. */
  readonly stored: number;
  readonly dead: number;
  /** By capability: what is stored in each lane, and tries that are due. */
  readonly lanes: readonly LaneDepth[];
}

interface LaneDepth {
  readonly capability: string;
  readonly lane: string;
  readonly stored: number;
}

export async function readDepths(manager: JetStreamManager): Promise<Depths> {
  const [submits, retries, dead] = await Promise.all([
    manager.streams.info(MESH_TASKS.name, { subjects_filter: SUBMIT_ALL }),
    manager.streams.info(MESH_RETRIES.name, { subjects_filter: retrySubject("*") }),
    manager.streams.info(MESH_DEAD.name),
  ]);
  return {
    stored: submits.state.messages + retries.state.messages,
    dead: dead.state.messages,
    lanes: lanesOf({ ...submits.state.subjects, ...retries.state.subjects }),
  };
}

/** Subjects of the task streams, by capability and lane. */
export function lanesOf(subjects: Readonly<Record<string, number>>): readonly LaneDepth[] {
  const lanes = new Map<string, LaneDepth>();
  for (const [subject, stored] of Object.entries(subjects)) {
    const capability = tokenOf(subject, 3);
    const retry = tokenOf(subject, 2) === "retry";
    const lane = retry ? "retry" : tokenOf(subject, 4) || "normal";
    const key = `${capability} ${lane}`;
    const before = lanes.get(key)?.stored ?? 0;
    lanes.set(key, { capability, lane, stored: before + stored });
  }
  return [...lanes.values()].sort((a, b) => b.stored - a.stored);
}
