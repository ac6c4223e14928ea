/** CPU time and memory of processes, as Linux counts them. */
import { readdirSync, readFileSync } from "node:fs";

/** What a process is in the set-up that is measured. */
export type Role = "client" | "coordinator" | "node" | "server" | "other";

export interface ProcessRef {
  readonly role: Role;
  readonly name: string;
  readonly pid: number;
}

/** CPU time by role, in microseconds. */
export type CpuByRole = Readonly<Partial<Record<Role, number>>>;

/** A clock tick of `/proc`, which is 10 ms on every Linux that Node runs on. */
const TICK_US = 10_000;

/** CPU time that all threads of a process had until now, in microseconds; 0 when it is gone. */
function cpuTimeUs(pid: number): number {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    return threads.reduce((sum, thread) => sum + threadTimeUs(pid, thread), 0);
  } catch {
    // No such process.
    return 0;
  }
}

/** A thread may end between the listing and the look. */
function threadTimeUs(pid: number, thread: string): number {
  try {
    // Nanoseconds on the CPU, nanoseconds waiting for it, time slices.
    return Number.parseInt(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8"), 10) / 1e3;
  } catch {
    return 0;
  }
}

/** Memory that a process has in use, in MiB; 0 when it is gone. */
export function residentMib(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

/** CPU time that the whole machine spent on work, in microseconds, interrupts included. */
function machineTimeUs(): number {
  const [, ...fields] = readFileSync("/proc/stat", "utf8").split("\n", 1)[0]?.split(/\s+/) ?? [];
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = fields.map(Number);
  return (user + nice + system + irq + softirq) * TICK_US;
}

/** Takes the CPU time of processes, and what the machine spent beside them. */
export class CpuMeter {
  readonly #processes: readonly ProcessRef[];
  readonly #startUs: readonly number[];
  readonly #machineStartUs: number;
  readonly #ownStartUs: number;

  constructor(processes: readonly ProcessRef[]) {
    this.#processes = processes;
    this.#startUs = processes.map(({ pid }) => cpuTimeUs(pid));
    this.#ownStartUs = cpuTimeUs(process.pid);
    this.#machineStartUs = machineTimeUs();
  }

  /** Since the meter was made. `foreignUs` is what neither these processes nor we had. */
  read(): { readonly byRole: CpuByRole; readonly totalUs: number; readonly foreignUs: number } {
    const machineUs = machineTimeUs() - this.#machineStartUs;
    const ownUs = cpuTimeUs(process.pid) - this.#ownStartUs;
    const byRole: Partial<Record<Role, number>> = {};
    let totalUs = 0;
    for (const [index, { role, pid }] of this.#processes.entries()) {
      const usedUs = Math.max(0, cpuTimeUs(pid) - (this.#startUs[index] ?? 0));
      byRole[role] = (byRole[role] ?? 0) + usedUs;
      totalUs += usedUs;
    }
    return { byRole, totalUs, foreignUs: Math.max(0, machineUs - ownUs - totalUs) };
  }
}
