/** The scripts of deploy/, run as an operator runs them: a release, an installation, the health check. */
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { SERVICES } from "@swarm-mesh/protocol";
import { test as base, expect, onTestFinished } from "vitest";

const ROOT = join(import.meta.dirname, "..", "..");
const DEPLOY = join(ROOT, "deploy");
/** Of 10, how much of the system is in a service's reach; an ordinary one has 9.6. */
const EXPOSURE_MAX = 2;
const HOST_UNITS = "/lib/systemd/system";

interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A release made from this checkout, and a directory that is gone afterwards. */
const test = base.extend<{ readonly release: string; readonly dir: string }>({
  release: [
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
    async ({}, use) => {
      const dir = await mkdtemp(join(tmpdir(), "mesh-release-"));
      const made = await run(join(DEPLOY, "release.sh"), [join(dir, "release")]);
      expect(made, made.stderr).toMatchObject({ status: 0 });
      await use(join(dir, "release"));
      await rm(dir, { recursive: true, force: true });
    },
    { scope: "file" },
  ],
  // biome-ignore lint/correctness/noEmptyPattern: as above
  dir: async ({}, use) => {
    const dir = await mkdtemp(join(tmpdir(), "mesh-deploy-"));
    await use(dir);
    await rm(dir, { recursive: true, force: true });
  },
});

test("a release runs by itself: every service, a server, a node, a task", async ({
  release,
  dir,
}) => {
  const modules = await readdir(join(release, "node_modules"));
  expect(modules).not.toEqual(expect.arrayContaining(["typescript"]));
  expect(modules).not.toEqual(expect.arrayContaining(["vitest"]));
  for (const service of SERVICES) {
    const main = join(release, "services", service, "dist", "main.js");
    const helped = await run(process.execPath, [main, "--help"]);
    expect(helped.stdout).toContain(`Usage: mesh-${service}`);
  }
  const swarmctl = join(release, "packages", "cli", "bin", "swarmctl.js");
  const flags = ["--port", "0", "--nodes", "1", "--dir", join(dir, ".mesh")];
  const dev = spawn(process.execPath, [swarmctl, "dev", ...flags], { cwd: dir, stdio: "pipe" });
  const ended = new Promise((resolve) => dev.once("exit", resolve));
  onTestFinished(async () => {
    dev.kill("SIGTERM");
    await ended;
  });
  await expect.poll(() => existsSync(join(dir, ".mesh", "dev.json")), WHILE_STARTING).toBe(true);
  const submit = ["task", "submit", "wordcount", "one two", "--wait"];
  const task = await run(process.execPath, [swarmctl, ...submit], { cwd: dir });
  expect(task).toEqual({ status: 0, stdout: "2\n", stderr: "" });
  dev.kill("SIGTERM");
  expect(await ended).toBe(0);
});

test("an installation is repeated without a change, and leaves what is the operator's", async ({
  release,
  dir,
}) => {
  const install = (...args: string[]): Promise<Ended> =>
    run(join(DEPLOY, "install.sh"), ["--root", dir, ...binaries(), "--nodes", "n1", ...args]);

  const dry = await install("--dry-run", release);
  expect(dry).toMatchObject({ status: 0, stdout: expect.stringContaining("keys init") });
  expect(await readdir(dir)).toEqual([]);

  expect(await install(release)).toMatchObject({ status: 0, stderr: "" });
  const settings = join(dir, "etc", "swarm-mesh", "nodes", "n1.env");
  await writeFile(settings, "NODE_FLAGS=--slots 1\n");
  const edited = join(dir, "etc/systemd/system/swarm-mesh@authenticator.service.d/override.conf");
  await writeFile(edited, "[Service]\n");
  const seeds = await readdir(join(dir, "etc", "swarm-mesh", "keys"));
  expect(seeds).toEqual(expect.arrayContaining([...SERVICES, "n1"].map((name) => `${name}.nk`)));
  const repeated = await install(release);
  expect(repeated.stdout.split("\n").filter((line) => line.startsWith("+"))).toEqual([]);

  const removed = await run(join(DEPLOY, "install.sh"), ["--root", dir, "--uninstall"]);
  expect(removed).toMatchObject({ status: 0 });
  expect(existsSync(join(dir, "opt", "swarm-mesh"))).toBe(false);
  const left = await readdir(join(dir, "etc", "systemd", "system"), { recursive: true });
  const own = relative(join(dir, "etc", "systemd", "system"), edited);
  expect(left.sort()).toEqual([dirname(own), own]);
  expect(await readFile(settings, "utf8")).toBe("NODE_FLAGS=--slots 1\n");
  expect(await readdir(join(dir, "etc", "swarm-mesh", "keys"))).toEqual(seeds);
});

test("a server that was brought its configuration makes no keys, which would shut all others out", async ({
  release,
  dir,
}) => {
  const etc = join(dir, "etc", "swarm-mesh");
  await mkdir(etc, { recursive: true });
  await writeFile(join(etc, "users.conf"), "# of the machine that has the keys\n");
  const args = ["--root", dir, ...binaries(), "--parts", "nats", release];
  expect(await run(join(DEPLOY, "install.sh"), args)).toMatchObject({ status: 0, stderr: "" });
  expect(existsSync(join(etc, "keys"))).toBe(false);
  expect(await readFile(join(etc, "users.conf"), "utf8")).toContain("of the machine that has");
});

test("an installation of what is no release, or of an unknown part, is refused", async ({
  dir,
}) => {
  const install = (...args: string[]): Promise<Ended> =>
    run(join(DEPLOY, "install.sh"), ["--root", dir, ...args]);
  expect(await install(dir)).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("is no release"),
  });
  expect(await install("--parts", "cook", ROOT)).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("there is no part cook"),
  });
  expect(await readdir(dir)).toEqual([]);
});

test("systemd finds nothing wrong with the units, and little in their reach", async ({
  release,
  dir,
  skip,
}) => {
  const looked = await run("systemd-analyze", ["--version"]);
  if (looked.status !== 0) return skip("there is no systemd-analyze on this machine");
  const args = ["--root", dir, ...binaries(), "--nodes", "n1", release];
  expect(await run(join(DEPLOY, "install.sh"), args)).toMatchObject({ status: 0 });
  // The rest of a system, as far as the units name it.
  await cp(HOST_UNITS, join(dir, HOST_UNITS), { recursive: true });
  const bin = join(dir, "opt", "swarm-mesh", "bin");
  for (const program of [
    join(bin, "node"),
    join(bin, "nats-server"),
    "/bin/kill",
    "/usr/bin/install",
  ]) {
    const path = program.startsWith(dir) ? program : join(dir, program);
    await rm(path, { force: true });
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, "#!/bin/sh\n");
    await chmod(path, 0o755);
  }
  const services = SERVICES.map((name) => `swarm-mesh@${name}.service`);
  const units = [...services, "swarm-mesh-node@n1.service", "swarm-mesh-nats.service"];
  const verify = ["verify", "--man=no", `--root=${dir}`, ...units, "swarm-mesh.target"];
  expect(await run("systemd-analyze", verify)).toEqual({ status: 0, stdout: "", stderr: "" });
  for (const unit of units) {
    const options = [`--root=${dir}`, "--offline=yes", `--threshold=${EXPOSURE_MAX * 10}`];
    const judged = await run("systemd-analyze", ["security", "--no-pager", ...options, unit]);
    expect(judged, judged.stdout).toMatchObject({ status: 0 });
  }
});

test.for(["container.conf", "cluster/container.conf"])(
  "nats-server takes the container's %s",
  async (name, { dir }) => {
    const swarmctl = join(ROOT, "packages", "cli", "bin", "swarmctl.js");
    const keys = ["keys", "init", "--dir", join(dir, "mesh"), "--servers", "nats-1,nats-2,nats-3"];
    const env = { MESH_ALLOW_PLAINTEXT: "1" };
    expect(await run(process.execPath, [swarmctl, ...keys], { env })).toMatchObject({ status: 0 });
    const conf = join(dir, "etc", "nats", "container.conf");
    await mkdir(dirname(conf), { recursive: true });
    await cp(join(DEPLOY, name), conf);
    const tested = await run(process.env["NATS_SERVER"] ?? "nats-server", ["-t", "-c", conf]);
    expect(tested, tested.stderr).toMatchObject({ status: 0 });
  },
);

test("the health check asks a service", async () => {
  let ready = false;
  const server = createHttpServer((request, response) => {
    response.writeHead(request.url === "/readyz" && ready ? 200 : 503).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const env = { MESH_HTTP_PORT: String((server.address() as AddressInfo).port) };
  expect((await health(env)).status).not.toBe(0);
  ready = true;
  expect((await health(env)).status).toBe(0);
  server.close();
});

test("the health check of a node is its connection to NATS", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const env = { NATS_URL: `nats://elsewhere,nats://127.0.0.1:${port}` };
  expect((await health(env)).status).toBe(1);
  const socket = connect(port, "127.0.0.1");
  await new Promise<void>((resolve) => socket.once("connect", resolve));
  expect((await health(env)).status).toBe(0);
  socket.destroy();
  server.close();
  await expect.poll(async () => (await health(env)).status).toBe(1);
});

const WHILE_STARTING = { timeout: 60_000 };

/** Programs for the units, wherever they are on this machine. */
function binaries(): string[] {
  return ["--node", process.execPath, "--nats-server", process.env["NATS_SERVER"] ?? "nats-server"];
}

function health(env: Readonly<Record<string, string>>): Promise<Ended> {
  return run(join(DEPLOY, "health-check.sh"), [], { env });
}

/** Runs a program to its end; one that is not there has status 127. */
function run(
  program: string,
  args: readonly string[],
  { cwd = ROOT, env = {} }: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<Ended> {
  const { NATS_URL: _url, NATS_NKEY: _nkey, NATS_CONTEXT: _context, ...inherited } = process.env;
  return new Promise((resolve) => {
    const options = { cwd, env: { ...inherited, ...env } };
    execFile(program, [...args], options, (error, stdout, stderr) => {
      const code = error?.code === "ENOENT" ? 127 : Number(error?.code ?? 0);
      resolve({ status: code, stdout, stderr });
    });
  });
}
