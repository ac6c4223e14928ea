/**
 * Real link loss: processes in Linux network namespaces, each on a virtual cable of its own.
 *
 *     namespace mf7-n2               this machine
 *     10.213.7.3 ──── veth ──── bridge mf7, 10.213.7.1 ──── nats-server
 *
 * A cable that is down tells nobody: packets vanish and TCP sends them again, as when a plug is
 * pulled. One way alone is lost by a neighbour entry that names a machine that is not there.
 */
import { execFile, execFileSync } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** What a cable does at the moment. `deaf`: nothing reaches the process. `mute`: nothing leaves it. */
export type CableState = "clear" | "link-down" | "deaf" | "mute";

/** Belongs to nobody: a frame for it is dropped by everyone. */
const NOBODY = "02:00:00:00:00:01";
const SUBNETS = 250;

/** A network of this run's own, and the namespaces on it. */
export class Namespaces {
  /** Where a server must listen so that the namespaces reach it. */
  readonly host: string;
  readonly #bridge: string;
  readonly #names: string[] = [];
  readonly #onExit = (): void => this.#removeNow();

  private constructor(subnet: number) {
    this.host = `10.213.${subnet}.1`;
    this.#bridge = `mf${subnet}`;
    process.once("exit", this.#onExit);
  }

  /** Makes the network, or says in one line why this machine does not allow it. */
  static async open(): Promise<Namespaces | { readonly refused: string }> {
    if (process.platform !== "linux") return { refused: "network namespaces: not Linux" };
    let refused = "every subnet is taken";
    for (let offset = 0; offset < SUBNETS; offset++) {
      const subnet = ((process.pid + offset) % SUBNETS) + 1;
      const namespaces = new Namespaces(subnet);
      try {
        await namespaces.#make();
        return namespaces;
      } catch (error) {
        refused = firstLine(error);
        // Another run's network has this number.
        if (!/File exists/.test(refused)) {
          namespaces.#removeNow();
          break;
        }
        process.off("exit", namespaces.#onExit);
      }
    }
    return { refused: `network namespaces: ${refused}` };
  }

  /** Adds a namespace on a cable of its own. */
  async add(name: string): Promise<Cable> {
    const index = this.#names.length + 1;
    const namespace = `${this.#bridge}-${name}`;
    const address = this.host.replace(/1$/, String(index + 1));
    const [outer, inner] = [`${this.#bridge}h${index}`, `${this.#bridge}c${index}`];
    this.#names.push(namespace);
    await ip("netns", "add", namespace);
    await ip("link", "add", outer, "type", "veth", "peer", "name", inner);
    await ip("link", "set", inner, "netns", namespace);
    await ip("link", "set", outer, "master", this.#bridge, "up");
    await ip("-n", namespace, "addr", "add", `${address}/24`, "dev", inner);
    await ip("-n", namespace, "link", "set", inner, "up");
    await ip("-n", namespace, "link", "set", "lo", "up");
    return new Cable({ namespace, address, outer, inner, bridge: this.#bridge, host: this.host });
  }

  /** Removes the network and every namespace. What still runs in one keeps it, without a cable. */
  close(): void {
    process.off("exit", this.#onExit);
    this.#removeNow();
  }

  async #make(): Promise<void> {
    await ip("link", "add", this.#bridge, "type", "bridge");
    await ip("addr", "add", `${this.host}/24`, "dev", this.#bridge);
    await ip("link", "set", this.#bridge, "up");
    // Whether namespaces may be made at all is better known before half a mesh runs.
    await (await this.add("probe")).remove();
    this.#names.length = 0;
  }

  #removeNow(): void {
    for (const [index, name] of this.#names.entries()) {
      tryNow("link", "del", `${this.#bridge}h${index + 1}`);
      tryNow("netns", "del", name);
    }
    tryNow("link", "del", this.#bridge);
  }
}

interface CableParts {
  readonly namespace: string;
  readonly address: string;
  readonly outer: string;
  readonly inner: string;
  readonly bridge: string;
  readonly host: string;
}

/** A namespace and its cable. */
export class Cable {
  readonly #parts: CableParts;
  #state: CableState = "clear";

  constructor(parts: CableParts) {
    this.#parts = parts;
  }

  /** What to put before a command so that it runs in the namespace, with the pid it is started with. */
  get prefix(): readonly string[] {
    return ["ip", "netns", "exec", this.#parts.namespace];
  }

  /** Makes the cable fail, or heals it with `clear`. */
  async set(state: CableState): Promise<void> {
    if (state === this.#state) return;
    if (this.#state !== "clear") await this.#switch(this.#state, false);
    if (state !== "clear") await this.#switch(state, true);
    this.#state = state;
  }

  /** Takes the namespace and the cable away. */
  async remove(): Promise<void> {
    await ip("link", "del", this.#parts.outer);
    await ip("netns", "del", this.#parts.namespace);
  }

  async #switch(state: Exclude<CableState, "clear">, on: boolean): Promise<void> {
    const { namespace, address, outer, inner, bridge, host } = this.#parts;
    switch (state) {
      case "link-down":
        await ip("link", "set", outer, on ? "down" : "up");
        return;
      case "deaf":
        await misdirect([], { to: address, dev: bridge, on });
        return;
      case "mute":
        await misdirect(["-n", namespace], { to: host, dev: inner, on });
        return;
    }
  }
}

async function misdirect(
  where: readonly string[],
  { to, dev, on }: { to: string; dev: string; on: boolean },
): Promise<void> {
  if (on) {
    await ip(...where, "neigh", "replace", to, "lladdr", NOBODY, "nud", "permanent", "dev", dev);
  } else {
    await ip(...where, "neigh", "del", to, "dev", dev);
  }
}

async function ip(...args: readonly string[]): Promise<void> {
  await run("ip", [...args]);
}

/** For the way out, where nothing can be waited for, and some of it may be gone. */
function tryNow(...args: readonly string[]): void {
  try {
    execFileSync("ip", [...args], { stdio: "ignore" });
  } catch {
    // It was not there, or is not ours to remove.
  }
}

function firstLine(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message: string };
  return (stderr || message).split("\n", 1)[0] ?? "";
}
