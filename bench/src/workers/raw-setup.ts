/** Names and connection of the bare JetStream skeleton: what a coordinator design costs at least. */
import { AckPolicy, jetstreamManager, RetentionPolicy } from "@nats-io/jetstream";
import { openConnection, Requester } from "@swarm-mesh/bus";
import type { NatsConnection } from "nats";

export const TASKS = { stream: "RAW_TASKS", subject: "raw.tasks" };
export const ASSIGN = { stream: "RAW_ASSIGN", subject: "raw.assign" };
export const RESULTS = { stream: "RAW_RESULTS", subject: "raw.results" };

export interface RawSetup {
  readonly url: string;
}

export interface RawLink {
  readonly nc: NatsConnection;
  readonly requester: Requester;
}

export async function openRaw(url: string, name: string): Promise<RawLink> {
  const nc = await openConnection({ servers: url, name, inbox: name, patient: false });
  return { nc, requester: new Requester(nc, { inboxPrefix: `_INBOX_${name}` }) };
}

/** Two work queues and a log of results, all on disk. A repeat changes nothing. */
export async function createStreams(nc: NatsConnection): Promise<void> {
  const manager = await jetstreamManager(nc);
  const queue = { retention: RetentionPolicy.Workqueue };
  await manager.streams.add({ name: TASKS.stream, subjects: [TASKS.subject], ...queue });
  await manager.streams.add({ name: ASSIGN.stream, subjects: [`${ASSIGN.subject}.*`], ...queue });
  await manager.streams.add({ name: RESULTS.stream, subjects: [RESULTS.subject] });
}

/** A durable pull consumer that acknowledges each message. */
export async function createConsumer(
  nc: NatsConnection,
  { stream, subject }: { readonly stream: string; readonly subject: string },
  name: string,
): Promise<void> {
  const manager = await jetstreamManager(nc);
  await manager.consumers.add(stream, {
    durable_name: name,
    filter_subject: subject,
    ack_policy: AckPolicy.Explicit,
    max_ack_pending: 4_096,
  });
}
