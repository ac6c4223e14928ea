/** The servers of a mesh with a proxy on the way from each to each, so that one can be parted from the others. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { FaultyLink, type LinkState } from "../faults/src/faulty-link.ts";
import { type ClusterRun, SERVERS } from "./cluster-run.ts";

interface Way {
  readonly from: string;
  readonly to: string;
  readonly link: FaultyLink;
}

export class Ways {
  readonly #run: ClusterRun;
  readonly #ways: readonly Way[];

  private constructor(run: ClusterRun, ways: readonly Way[]) {
    this.#run = run;
    this.#ways = ways;
  }

  /**
   * Restarts one server after the other, `order` says how, so that they reach each other through
   * proxies alone. Whoever is connected to the last one when it goes is at another server afterwards.
   */
  static async lay(run: ClusterRun, order: readonly string[] = SERVERS): Promise<Ways> {
    const { dir } = run.mesh;
    const shared = await readFile(join(dir, "routes.conf"), "utf8");
    const ports = [...shared.matchAll(/@127\.0\.0\.1:(\d+)"/g)].map(([, port]) => Number(port));
    const ways: Way[] = [];
    const confs = new Map<string, string>();
    for (const [at, from] of SERVERS.entries()) {
      let routes = shared;
      for (const [index, to] of SERVERS.entries()) {
        const port = ports[index] ?? 0;
        if (index === at) continue;
        const link = await FaultyLink.open({ host: "127.0.0.1", port });
        ways.push({ from, to, link });
        routes = routes.replace(`:${port}"`, `:${new URL(link.url).port}"`);
      }
      // What others tell of this server must not be a way around the proxies: nobody listens there.
      const own = `advertise: "127.0.0.1:1"\n${routes}`;
      const conf = await readFile(join(dir, `${from}.conf`), "utf8");
      confs.set(from, join(dir, `parted-${from}.conf`));
      await writeFile(confs.get(from) ?? "", conf.replace('include "routes.conf"', own));
    }
    for (const name of order) await run.restart(name, confs.get(name));
    return new Ways(run, ways);
  }

  /** Parts a server from the others; `nodes` are those that may be on its side. */
  part(server: string, nodes: readonly string[], state: LinkState): void {
    this.#run.noteParted("fault", [server, ...nodes]);
    for (const { from, to, link } of this.#ways) {
      if (from === server || to === server) link.set(state);
    }
  }

  /** Puts the server back together with the others. */
  heal(server: string, nodes: readonly string[]): void {
    for (const { link } of this.#ways) link.set({ kind: "clear" });
    this.#run.noteParted("healed", [server, ...nodes]);
  }

  async close(): Promise<void> {
    await Promise.all(this.#ways.map(({ link }) => link.close()));
  }
}
