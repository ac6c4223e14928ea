import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import {
  locateNatsServer,
  prepareCluster,
  prepareServerDir,
  startNatsServer,
} from "@swarm-mesh/server";
import { expect, onTestFinished, test } from "vitest";
import { freePorts } from "../src/ports.ts";

test("servers with TLS show each other their certificates, and are one cluster", async () => {
  const dir = await mkdtemp(join(tmpdir(), "mesh-routes-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const { path: binary } = await locateNatsServer();
  await prepareServerDir(dir, { nodes: [], tls: { hosts: ["nats.example.org"] } });
  const ports = await freePorts(2);
  const confs = await prepareCluster(
    dir,
    ports.map((routePort, index) => ({
      name: `nats-${index}`,
      host: "127.0.0.1",
      listen: "127.0.0.1:-1",
      routeListen: `127.0.0.1:${routePort}`,
      routePort,
    })),
  );
  const logs = confs.map((): string[] => []);
  for (const [index, conf] of confs.entries()) {
    const log = (line: string): void => void logs[index]?.push(line);
    const server = await startNatsServer({ binary, conf, dir: join(dir, String(index)), log });
    onTestFinished(() => server.stop());
  }
  // Of two servers neither leads without the other.
  await expect
    .poll(() => logs.flat().join("\n"), { timeout: 15_000 })
    .toMatch(/Self is new JetStream cluster metadata leader/);
  for (const port of ports) {
    expect(await namesOf(port)).toContain("DNS:nats.example.org");
  }
});

/** The names in the certificate that a server shows to whoever comes as another server. */
async function namesOf(port: number): Promise<string | undefined> {
  // Whether to trust it is not the question here.
  const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false });
  socket.on("error", () => undefined); // It is refused, as it shows none itself.
  await once(socket, "secureConnect");
  const names = socket.getPeerCertificate().subjectaltname;
  socket.destroy();
  return names;
}
