import { join, relative } from "node:path";
import { submitSubject, TASKS_BUCKET } from "@swarm-mesh/protocol";
import type { Paint } from "../output.ts";
import { type DevFile, SERVER_KIND } from "./dev-file.ts";
import { HANDLES_DEFAULT } from "./plan.ts";

/** What to type next, once everything runs. Every line works as it is printed. */
export function nextSteps(options: {
  readonly file: DevFile;
  readonly dir: string;
  readonly cwd: string;
  readonly handles: readonly string[];
  readonly tookMs: number;
  readonly paint: Paint;
}): string {
  const { file, dir, cwd, paint } = options;
  const nodes = file.processes.filter(({ kind }) => kind === "node");
  const servers = file.processes.filter(({ kind }) => kind === SERVER_KIND);
  const services = file.processes.length - nodes.length - servers.length;
  const shown = relative(cwd, dir) || ".";
  const where = shown === ".mesh" ? "" : `MESH_DIR=${quoted(shown)} `;
  const nats = `XDG_CONFIG_HOME=${quoted(shown)} nats --context`;
  const capability = options.handles[0]?.split("=", 1)[0] ?? "echo";
  const swarmctl = `${where}npx swarmctl`;
  const lines: (readonly [string, string])[] = [
    [`${swarmctl} top`, "the mesh, live"],
    [`${swarmctl} dashboard`, "the same in a browser"],
    [`${swarmctl} task submit ${capability} '"hi"' --wait`, "run a task"],
    [`${nats} client pub ${submitSubject(capability)} '"hi"'`, "the same by nats alone"],
    [`${nats} viewer kv watch ${TASKS_BUCKET.name}`, "watch every record"],
  ];
  const victim = nodes.at(-1);
  if (victim !== undefined && options.handles === HANDLES_DEFAULT) {
    lines.push(
      [`${swarmctl} task submit count 30 --id demo --prefer ${victim.name}`, "a long task"],
      [`kill -9 ${victim.pid}`, `kill its node, ${victim.name}`],
      [`${swarmctl} task watch demo`, "it goes on elsewhere, from where it was"],
      [`${swarmctl} why demo`, "what happened to it"],
    );
  }
  const server = servers.at(-1);
  if (server !== undefined && servers.length > 1) {
    lines.push(
      [`${swarmctl} doctor`, "what the servers can bear to lose"],
      [`kill -9 ${server.pid}`, `kill a server, ${server.name}: nobody notices`],
    );
  }
  const width = Math.max(...lines.map(([command]) => command.length));
  return [
    "",
    `${paint("green", "ready")} after ${(options.tookMs / 1_000).toFixed(1)} s: ${serversText(file.url, servers.length)}, ${count(services, "service")}, ${count(nodes.length, "node")}; keys in ${join(shown, "keys")}`,
    "",
    "Now type, in another terminal in this directory:",
    ...lines.map(
      ([command, why]) => `  ${paint("bold", command.padEnd(width))}  ${paint("dim", `# ${why}`)}`,
    ),
    "",
    "Ctrl-C ends everything.",
    "",
    "",
  ].join("\n");
}

function serversText(url: string, servers: number): string {
  return servers === 1 ? url : `${count(servers, "server")} (${url.split(",").join(", ")})`;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

function quoted(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
