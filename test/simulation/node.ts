/**
 * A simulated node. What runs tasks is the node's own code: its runner, outbox, agents, saver, lease
 * and registration. Simulated is what stands around them: one life after another, as
 * packages/node/src/life.ts and node.ts have it, and the handlers.
 */
import { headerBlock, Lease } from "@swarm-mesh/bus";
import {
  deregisterSubject,
  encode,
  LEASES_BUCKET,
  lastTokenOf,
  type NodeLease,
  nodeLeaseKey,
  type Registration,
} from "@swarm-mesh/protocol";
import { backoffMs, LOOP_BACKOFF, Meters, REQUEST_BACKOFF, silentLog } from "@swarm-mesh/runtime";
import { Agents } from "../../packages/node/src/agents.ts";
import { JoinRefusedError, MeshView, register } from "../../packages/node/src/join.ts";
import { NodeMeters } from "../../packages/node/src/meters.ts";
import { Runner } from "../../packages/node/src/runner.ts";
import type { Life as RunnerLife } from "../../packages/node/src/runner-deps.ts";
import { handlerOf } from "./handler.ts";
import { Mail, readerOf } from "./mail.ts";
import type { NodePlan } from "./plan.ts";
import { Host, type World } from "./world.ts";

const GRACE_MS = 2_000;
const RENEW_AGAIN_MS = 200;
const GRANT_TRIES_MAX = 5;
const SYNCS_AFTER_LINK = 2;
const SYNC_EVERY_RENEWALS = 5;
const TELL_MAX_MS = 10_000;
const DEREGISTER_TIMEOUT_MS = 2_000;
const ID_IN_USE_WAIT_MS = 20_000;
/** The runner looks at its deadlines every 25 ms; here timers are that coarse, as on a busy machine. */
const COARSE_MS = 150;

type LifeEnd = "stopped" | "lease_lost" | "given_up" | "not_granted";

export class SimNode {
  readonly host: Host;
  readonly plan: NodePlan;
  #self: NodeProcess | undefined;

  constructor(world: World, plan: NodePlan) {
    this.plan = plan;
    this.host = new Host(world, plan.id, (host) => {
      this.#self = new NodeProcess(host, plan);
    });
  }

  /** The life whose lease it trusts; 0: none. */
  get life(): number {
    return this.host.process.alive ? (this.#self?.trustedLife ?? 0) : 0;
  }

  /** Slots in use. */
  get running(): number {
    return this.host.process.alive ? (this.#self?.agents.running ?? 0) : 0;
  }

  /** Outcomes that were not acknowledged. */
  get untold(): number {
    return this.host.process.alive ? (this.#self?.runner.outbox.size ?? 0) : 0;
  }

  /** Leaves in order, then ends its process. */
  drain(deadlineMs: number): void {
    if (this.host.process.alive) this.#self?.drain(deadlineMs);
  }
}

class NodeProcess {
  readonly host: Host;
  readonly agents: Agents;
  readonly runner: Runner;
  readonly view: MeshView;
  readonly registration: Registration;
  isLeaving = false;
  #life: Life | undefined;

  constructor(host: Host, plan: NodePlan) {
    this.host = host;
    const { link, process, random, requester } = host;
    this.agents = new Agents(plan.agents);
    for (const { name, capabilities } of plan.agents) {
      for (const capability of capabilities) {
        this.agents.add(
          capability,
          handlerOf(host, () => this.#life?.incarnation ?? 0),
          name,
        );
      }
    }
    const clock = {
      ...process.clock,
      sleep: (ms: number, signal?: AbortSignal) =>
        process.clock.sleep(Math.max(ms, COARSE_MS), signal),
    };
    this.runner = new Runner({
      nodeId: plan.id,
      agents: this.agents,
      trust: undefined,
      requester: requester.asRequester,
      publish: (subject, payload) => link.publish(subject, payload),
      graceMs: GRACE_MS,
      messageMaxBytes: () => 1024 * 1024,
      clock,
      random,
      log: silentLog,
      meters: new NodeMeters(new Meters(), {
        id: plan.id,
        agents: this.agents,
        active: () => this.#life !== undefined,
      }),
    });
    this.view = new MeshView(plan.id, requester.asRequester);
    this.registration = registrationOf(plan, this.agents);
    link.onLink((up) => {
      this.runner.setLink(up);
      this.#life?.onLink(up);
    });
    host.spawn(this.runner.run(process.signal));
    host.spawn(this.#live());
  }

  get trustedLife(): number {
    return this.#life?.standing() === "trusted" ? this.#life.incarnation : 0;
  }

  drain(deadlineMs: number): void {
    if (this.isLeaving) return;
    this.isLeaving = true;
    this.host.note("drains");
    this.host.spawn(this.#leave(deadlineMs));
  }

  /** Life after life. */
  async #live(): Promise<void> {
    const { process, random } = this.host;
    for (let failures = 0; ; ) {
      const endedIn = await this.#liveOnce();
      this.#life = undefined;
      this.host.note("life over", endedIn);
      if (this.isLeaving) return;
      failures = endedIn === "not_granted" ? failures + 1 : 1;
      await process.clock.sleep(backoffMs(LOOP_BACKOFF, failures, random));
    }
  }

  async #liveOnce(): Promise<LifeEnd> {
    const { process, random, requester, name } = this.host;
    try {
      const welcome = await register({
        nodeId: name,
        registration: this.registration,
        requester: requester.asRequester,
        clock: process.clock,
        random,
        log: silentLog,
        idInUseWaitMs: ID_IN_USE_WAIT_MS,
        signal: process.signal,
      });
      if (welcome === undefined) return "stopped";
      this.host.note("welcomed", welcome.incarnation);
      const life = new Life(this, welcome.incarnation, welcome.config.leaseTtlMs);
      this.#life = life;
      return await life.run();
    } catch (error) {
      if (!(error instanceof JoinRefusedError)) throw error;
      // Whoever runs the node starts it again.
      this.host.note("refused", error.message);
      this.#restartLater();
      return new Promise(() => undefined);
    }
  }

  #restartLater(): void {
    const { process } = this.host;
    process.scheduler.after(0, () => process.kill());
    process.scheduler.after(1_000, () => process.start());
  }

  async #leave(deadlineMs: number): Promise<void> {
    const { runner, host } = this;
    const { process } = host;
    runner.draining = true;
    await this.#deregister("leaving");
    await runner.idle(this.#after(deadlineMs));
    runner.handBack(GRACE_MS);
    await runner.idle(this.#after(GRACE_MS + 1_000));
    await runner.told(this.#after(TELL_MAX_MS));
    await this.#deregister("left");
    runner.fence();
    await this.#life?.lease.revoke();
    host.note("left");
    process.scheduler.after(0, () => process.kill());
  }

  async #deregister(phase: "leaving" | "left"): Promise<void> {
    const life = this.#life;
    if (life === undefined) return;
    const body = { incarnation: life.incarnation, phase, reason: "drain" };
    const options = { timeoutMs: DEREGISTER_TIMEOUT_MS };
    await this.host.requester.request(deregisterSubject(this.host.name), body, options);
  }

  #after(ms: number): AbortSignal {
    const over = new AbortController();
    this.host.process.after(ms, () => over.abort());
    return over.signal;
  }
}

/** One life, from WELCOME to the loss of its lease or to its end. */
class Life implements RunnerLife {
  readonly incarnation: number;
  readonly lease: Lease;
  readonly #node: NodeProcess;
  readonly #host: Host;
  #isOver = false;
  #isGranted = false;
  #isSyncing = false;
  #syncsDue = 0;
  #wake: () => void = () => undefined;
  #finish: (end: LifeEnd) => void = () => undefined;

  constructor(node: NodeProcess, incarnation: number, leaseTtlMs: number) {
    this.#node = node;
    this.#host = node.host;
    this.incarnation = incarnation;
    const { process, requester, world, name } = node.host;
    const { agents } = node;
    const value = (): NodeLease => ({
      incarnation,
      running: agents.running,
      slots: agents.slots,
      rttMs: 1,
      lagMs: 0,
    });
    this.lease = new Lease({
      bucket: LEASES_BUCKET,
      key: nodeLeaseKey(name),
      ttlMs: leaseTtlMs,
      requester: requester.asRequester,
      clock: world.sabotage.nodeLeaseClock?.(process.clock) ?? process.clock,
      value: () => encode(value()),
    });
  }

  standing(): "granting" | "trusted" | "over" {
    if (this.#isOver) return "over";
    if (!this.#isGranted) return "granting";
    return this.lease.trusted() ? "trusted" : "over";
  }

  /** Lives until the lease is lost. By then no task of this life runs. */
  async run(): Promise<LifeEnd> {
    const { link } = this.#host;
    const over = new Promise<LifeEnd>((resolve) => {
      this.#finish = resolve;
    });
    this.#node.runner.enter(this);
    const subscription = link.subscribe(`node.${this.#host.name}`, (mail) => this.#hear(mail));
    try {
      // The subscription is ahead of this on the same connection.
      if (!(await link.flush())) return "not_granted";
      if (!(await this.#node.view.sync())) this.#syncsDue = 1;
      if (!(await this.#grant())) return "not_granted";
      this.#host.note("ready", this.incarnation);
      this.#host.spawn(this.#renew());
      this.#host.spawn(this.#guard());
      return await over;
    } finally {
      this.#close("stopped");
      link.unsubscribe(subscription);
    }
  }

  onLink(up: boolean): void {
    if (!up) return;
    this.#syncsDue = SYNCS_AFTER_LINK;
    this.#wake();
  }

  #hear(mail: Mail): void {
    const { runner, agents } = this.#node;
    if (this.standing() === "over") this.#close("lease_lost");
    const message = this.#asRead(mail).asMsg;
    switch (lastTokenOf(mail.subject)) {
      case "task":
        runner.onTask(message);
        return;
      case "tasks":
        runner.onTasks(message);
        return;
      case "ping":
        if (this.standing() === "over") return;
        mail.respond({ incarnation: this.incarnation, running: agents.running });
        return;
      case "cancel":
        if (this.standing() !== "over") runner.onCancel(message);
        return;
    }
  }

  /** The message with its headers as a spoiled node reads them. */
  #asRead(mail: Mail): Mail {
    const { readHeader } = this.#host.world.sabotage;
    if (readHeader === undefined || mail.headers === undefined) return mail;
    const read = [...readerOf(mail.headers)].map(
      ([name, value]) => [name, readHeader(name, String(value), this)] as const,
    );
    const { subject, body, reply, respond } = mail;
    return new Mail({ subject, body, reply, respond, headers: headerBlock(read) });
  }

  async #grant(): Promise<boolean> {
    const { process, random } = this.#host;
    for (let failures = 1; failures <= GRANT_TRIES_MAX; failures++) {
      const stored = await this.lease.grant(undefined);
      if (stored.kind === "stored") {
        this.#isGranted = true;
        return true;
      }
      await process.clock.sleep(backoffMs(REQUEST_BACKOFF, failures, random));
    }
    return false;
  }

  async #renew(): Promise<void> {
    const { clock } = this.#host.process;
    let waitMs = this.lease.renewEveryMs;
    for (let renewals = 1; !this.#isOver; renewals++) {
      await Promise.race([
        clock.sleep(waitMs),
        new Promise<void>((resolve) => {
          this.#wake = resolve;
        }),
      ]);
      if (this.#isOver) return;
      if (!this.lease.trusted()) return this.#close("lease_lost");
      const startedAtMs = clock.elapsed();
      const result = await this.lease.renew();
      if (result === "lost") return this.#close("lease_lost");
      const isTime = this.#syncsDue > 0 || renewals % SYNC_EVERY_RENEWALS === 0;
      if (isTime) this.#host.spawn(this.#sync());
      const everyMs = result === "renewed" ? this.lease.renewEveryMs : RENEW_AGAIN_MS;
      waitMs = Math.max(0, everyMs - (clock.elapsed() - startedAtMs));
    }
  }

  /** Finds out whether the control plane has given this life up. */
  async #sync(): Promise<void> {
    const { view } = this.#node;
    if (this.#isSyncing) return;
    this.#isSyncing = true;
    if (await view.sync()) this.#syncsDue = Math.max(0, this.#syncsDue - 1);
    this.#isSyncing = false;
    if (view.hasGivenUp(this.incarnation)) this.#close("given_up");
  }

  /** Ends this life at the moment trust ends. */
  async #guard(): Promise<void> {
    while (!this.#isOver) {
      if (!this.lease.trusted()) return this.#close("lease_lost");
      await this.#host.process.clock.sleep(Math.max(1, this.lease.remainingMs()));
    }
  }

  #close(end: LifeEnd): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (end !== "stopped") this.#node.runner.fence();
    this.#finish(end);
  }
}

function registrationOf({ id, labels, batches }: NodePlan, agents: Agents): Registration {
  return {
    host: `host-${id}`,
    port: 0,
    role: "worker",
    agents: agents.registered(),
    labels,
    cpu: 1,
    memoryBytes: 0,
    version: "",
    costPerHour: 0,
    batches,
  };
}
