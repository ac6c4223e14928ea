/** A simulated client: submits until acknowledged, sometimes twice, and cancels what the plan says. */
import { headerBlock } from "@swarm-mesh/bus";
import {
  cancelSubject,
  formatDuration,
  Header,
  isFinal,
  submitSubject,
  type TaskRecord,
} from "@swarm-mesh/protocol";
import { backoffMs, REQUEST_BACKOFF } from "@swarm-mesh/runtime";
import type { MsgHdrs } from "nats";
import type { TaskPlan } from "./plan.ts";
import { Host, type World } from "./world.ts";

const PUBLISH_TIMEOUT_MS = 2_000;
const CANCEL_TIMEOUT_MS = 5_000;
/** After it a client gives up. */
const DEADLINE_MS = 30_000;

export function client(world: World, name: string): Host {
  return new Host(world, name, (host) => {
    for (const task of world.plan.tasks) {
      for (const at of task.submitAt) {
        host.process.after(at, () => host.spawn(submit(host, task)));
      }
      const { cancelAt } = task;
      if (cancelAt !== undefined) {
        host.process.after(cancelAt, () => host.spawn(cancel(host, task.id)));
      }
    }
  });
}

async function submit(host: Host, task: TaskPlan): Promise<void> {
  const { process, random, requester, world } = host;
  const subject = submitSubject(task.capability, task.lane);
  const options = { headers: headersOf(task), timeoutMs: PUBLISH_TIMEOUT_MS };
  const body = new Uint8Array(task.payloadBytes);
  const until = process.clock.elapsed() + DEADLINE_MS;
  for (let failures = 1; process.clock.elapsed() < until; failures++) {
    const stored = await requester.stored(subject, body, options);
    if (stored.kind === "stored") {
      world.judge.acknowledged(task.id, stored.duplicate);
      return;
    }
    await process.clock.sleep(backoffMs(REQUEST_BACKOFF, failures, random));
  }
}

function headersOf({ id, options, isBad }: TaskPlan): MsgHdrs {
  const { maxAttempts, timeoutMs, backoff, requires, prefer, strategy } = options;
  const wait =
    backoff.kind === "fixed"
      ? `fixed:${formatDuration(backoff.delayMs)}`
      : `exponential:${formatDuration(backoff.baseMs)}:${formatDuration(backoff.maxMs)}`;
  const labels = Object.entries(requires ?? {}).map((pair) => pair.join("="));
  return headerBlock([
    [Header.msgId, id],
    [Header.maxAttempts, String(maxAttempts)],
    [Header.timeout, isBad ? "soon" : formatDuration(timeoutMs)],
    [Header.backoff, wait],
    [Header.requires, labels.join(",")],
    [Header.prefer, prefer ?? ""],
    [Header.strategy, strategy],
  ]);
}

async function cancel(host: Host, id: string): Promise<void> {
  const { process, random, requester, world } = host;
  const until = process.clock.elapsed() + DEADLINE_MS;
  for (let failures = 1; process.clock.elapsed() < until; failures++) {
    const reply = await requester.request(cancelSubject(id), {}, { timeoutMs: CANCEL_TIMEOUT_MS });
    const answer = reply.kind === "message" ? reply.message.json<Partial<TaskRecord>>() : {};
    if (answer.status !== undefined && isFinal(answer.status)) {
      world.judge.told(id, answer.status, answer.attempt ?? 0);
      return;
    }
    await process.clock.sleep(backoffMs(REQUEST_BACKOFF, failures, random));
  }
}
