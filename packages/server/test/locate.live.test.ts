import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { systemClock } from "@swarm-mesh/runtime";
import { test as base, describe, expect } from "vitest";
import { NatsServerNotFound } from "../src/errors.ts";
import { fetchRelease } from "../src/fetch-release.ts";
import { locateNatsServer, locateOn } from "../src/locate.ts";
import type { Machine } from "../src/machine.ts";
import { MINIMUM_VERSION, PREFERRED_VERSION } from "../src/version.ts";

/** A directory of the test's own, and a machine that has nothing but what is put into it. */
const test = base.extend<{ dir: string; machine: Machine }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest finds a fixture's needs in this pattern.
  dir: async ({}, use) => {
    const dir = await mkdtemp(join(tmpdir(), "locate-"));
    await use(dir);
    await rm(dir, { recursive: true, force: true });
  },
  machine: async ({ dir }, use) => {
    await use({
      env: { PATH: join(dir, "path"), XDG_CACHE_HOME: join(dir, "cache") },
      platform: "linux",
      arch: "x64",
      home: dir,
      aptDir: join(dir, "apt"),
      debianKeyring: join(dir, "debian.gpg"),
      extraDirs: [join(dir, "sbin")],
      clock: systemClock,
    });
  },
});

describe("NATS_SERVER", () => {
  test("is used, before anything else", async ({ dir, machine }) => {
    await putServer(join(dir, "path"), "2.15.1");
    const path = await putServer(join(dir, "mine"), "2.14.9");

    expect(await locateOn(withEnv(machine, { NATS_SERVER: path }))).toEqual({
      path,
      version: "2.14.9",
      source: "env",
    });
  });

  test.each([
    ["that is missing", "none", /does not exist/],
    ["that is too old", "2.10.27", new RegExp(`2.10.27 is too old: ${MINIMUM_VERSION}`)],
    ["that is a pre-release of the minimum", `${MINIMUM_VERSION}-RC.1`, /too old/],
    ["that names no version", "nothing", /names no version/],
  ])("%s is refused, and nothing else is tried", async (_, version, problem) => {
    const dir = await mkdtemp(join(tmpdir(), "locate-"));
    const path = version === "none" ? join(dir, "none") : await putServer(dir, version);

    const located = locateNatsServer({ env: { NATS_SERVER: path, PATH: process.env["PATH"] } });

    await expect(located).rejects.toThrow(NatsServerNotFound);
    await expect(located).rejects.toThrow(problem);
    await rm(dir, { recursive: true, force: true });
  });

  test("that is not executable is refused", async ({ dir, machine }) => {
    const path = await putServer(dir, "2.15.1");
    await chmod(path, 0o644);

    await expect(locateOn(withEnv(machine, { NATS_SERVER: path }))).rejects.toThrow(
      /is not executable/,
    );
  });
});

describe("PATH", () => {
  test("is searched, then the usual directories", async ({ dir, machine }) => {
    const path = await putServer(join(dir, "sbin"), "2.15.1");

    expect(await locateOn(machine)).toEqual({ path, version: "2.15.1", source: "path" });
  });

  test("may hold one too old: the next that will do is used", async ({ dir, machine }) => {
    await putServer(join(dir, "path"), "2.9.10");
    const path = await putServer(join(dir, "sbin"), "2.16.0");

    expect(await locateOn(machine)).toMatchObject({ path, version: "2.16.0" });
  });

  test("may hold one without the latest fixes: it is used, with a warning", async ({
    dir,
    machine,
  }) => {
    await putServer(join(dir, "path"), "2.12.3");
    const lines: string[] = [];

    expect(await locateOn(machine, { report: (line) => lines.push(line) })).toMatchObject({
      version: "2.12.3",
    });
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(/^warning: .* lacks security fixes/);
    expect(lines[1]).toMatch(/^nats-server 2\.12\.3 from PATH: /);
  });
});

describe("the official release", () => {
  test("is downloaded, checked, cached, and used from the cache after", async ({
    dir,
    machine,
  }) => {
    await using release = await serveRelease(dir, {});
    const online = withEnv(machine, { NATS_SERVER_DOWNLOAD_BASE: release.base, PATH: binDirs() });
    const path = join(dir, "cache", "swarm-mesh", "nats-server", PREFERRED_VERSION, "nats-server");
    const lines: string[] = [];

    const [first, second] = await Promise.all([
      locateOn(online, { report: (line) => lines.push(line) }),
      locateOn(online),
    ]);

    expect([first.source, second.source].sort()).toEqual(["cache", "release"]);
    expect(first.path).toBe(path);
    expect(release.downloads()).toBe(1);
    expect(lines.at(-1)).toContain(`nats-server ${PREFERRED_VERSION} from `);
    expect(await locateOn(machine, { offline: true })).toMatchObject({ source: "cache", path });
    expect((await stat(path)).mode & 0o777).toBe(0o755);
    // Nothing is left behind but the binary and its checksum.
    expect(await readdir(join(dir, "cache", "swarm-mesh", "nats-server"))).toEqual([
      PREFERRED_VERSION,
    ]);
  });

  test("that does not match its checksum is not used", async ({ dir, machine }) => {
    await using release = await serveRelease(dir, { sums: (file) => `${"0".repeat(64)}  ${file}` });

    await expect(
      locateOn(withEnv(machine, { NATS_SERVER_DOWNLOAD_BASE: release.base })),
    ).rejects.toThrow(/release\s+nats-server-v\S+ does not match its checksum/);
  });

  test("that is not in the list of checksums is not downloaded", async ({ dir, machine }) => {
    await using release = await serveRelease(dir, { sums: () => "" });

    await expect(
      locateOn(withEnv(machine, { NATS_SERVER_DOWNLOAD_BASE: release.base })),
    ).rejects.toThrow(/does not list nats-server-v/);
    expect(release.downloads()).toBe(0);
  });

  test("that differs from a pinned checksum is not used", async ({ dir, machine }) => {
    await using release = await serveRelease(dir, {});
    const pinned = { [`nats-server-v${PREFERRED_VERSION}-linux-amd64.tar.gz`]: "0".repeat(64) };
    await mkdir(join(dir, "work"));

    await expect(
      fetchRelease(
        withEnv(machine, { NATS_SERVER_DOWNLOAD_BASE: release.base }),
        join(dir, "work"),
        { report: () => undefined, pinned },
      ),
    ).rejects.toThrow(/does not match its checksum/);
  });

  test("that is not there says what was answered", async ({ dir, machine }) => {
    await using release = await serveRelease(dir, {});

    await expect(
      locateOn(withEnv(machine, { NATS_SERVER_DOWNLOAD_BASE: `${release.base}/elsewhere` })),
    ).rejects.toThrow(/answered 404/);
  });

  test("does not exist for every machine", async ({ machine }) => {
    await expect(locateOn({ ...machine, platform: "sunos" })).rejects.toThrow(
      /no release for sunos on x64/,
    );
  });
});

describe("the cache", () => {
  test("is not believed when the file was changed", async ({ dir, machine }) => {
    const path = await putCached(dir, "2.15.1");
    await writeFile(path, `${await readFile(path, "utf8")}# changed\n`);

    await expect(locateOn(machine, { offline: true })).rejects.toThrow(
      /cache\s+\S+ is not what its checksum says/,
    );
  });

  test("is not believed without a checksum", async ({ dir, machine }) => {
    const path = await putCached(dir, "2.15.1");
    await rm(`${path}.sha256`);

    await expect(locateOn(machine, { offline: true })).rejects.toThrow(/checksum is missing/);
  });

  test("gives its newest, before PATH", async ({ dir, machine }) => {
    await putCached(dir, "2.14.9");
    const path = await putCached(dir, "2.15.10");
    await putCached(dir, "2.15.9");
    await putServer(join(dir, "path"), "2.16.0");

    expect(await locateOn(machine)).toEqual({ path, version: "2.15.10", source: "cache" });
  });

  test("that was changed is made whole again", async ({ dir, machine }) => {
    await using release = await serveRelease(dir, {});
    const path = await putCached(dir, PREFERRED_VERSION);
    await writeFile(path, "broken");

    expect(
      await locateOn(
        withEnv(machine, { NATS_SERVER_DOWNLOAD_BASE: release.base, PATH: binDirs() }),
      ),
    ).toMatchObject({ source: "release" });
    expect(await locateOn(machine, { offline: true })).toMatchObject({ source: "cache" });
  });
});

describe("with nothing to be had", () => {
  test("says on one screen what was tried and what to do", async ({ dir, machine }) => {
    await putServer(join(dir, "path"), "2.9.10");
    const closed = withEnv(machine, CLOSED);

    const error: unknown = await locateOn(closed).catch((failure: unknown) => failure);

    expect(error).toBeInstanceOf(NatsServerNotFound);
    const { message, tried } = error as NatsServerNotFound;
    expect(tried.map(({ source }) => source)).toEqual(["PATH", "release", "apt", "go install"]);
    expect(message).toContain("2.9.10 is too old");
    expect(message).toContain("export NATS_SERVER=");
    const lines = message.split("\n");
    expect(lines.length).toBeLessThanOrEqual(24);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(180);
  });

  test.each([{ option: true }, { option: false }])(
    "tries no network when offline",
    async ({ option }) => {
      const dir = await mkdtemp(join(tmpdir(), "locate-"));
      const env = {
        PATH: dir,
        XDG_CACHE_HOME: dir,
        ...(option ? {} : { NATS_SERVER_OFFLINE: "1" }),
      };
      const machine: Machine = {
        ...{ env, platform: "linux", arch: "x64", home: dir, aptDir: dir },
        ...{ debianKeyring: dir, extraDirs: [], clock: systemClock },
      };

      await expect(locateOn(machine, option ? { offline: true } : {})).rejects.toThrow(
        /network\s+offline/,
      );
      await rm(dir, { recursive: true, force: true });
    },
  );
});

describe("a Debian package", () => {
  test("is fetched from the machine's own mirror, and only unpacked", async ({ dir, machine }) => {
    await putDebian(dir, { testing: PREFERRED_VERSION });
    const log = join(dir, "apt.log");

    expect(await locateOn(withEnv(machine, { ...CLOSED, LOG: log }))).toMatchObject({
      source: "apt",
      version: PREFERRED_VERSION,
    });
    expect(await readFile(log, "utf8")).toMatch(
      /^deb \[signed-by=\S+debian.gpg\] http:\/\/mirror.example\/debian testing main\n-o .*APT::Sandbox::User= .* update\n/,
    );
  });

  test("that is too old is not used, in any suite", async ({ dir, machine }) => {
    await putDebian(dir, { testing: "2.11.0", trixie: "2.10.27" });

    await expect(locateOn(withEnv(machine, { ...CLOSED, LOG: join(dir, "log") }))).rejects.toThrow(
      /apt\s+testing: version 2.11.0 is too old.*; trixie: version 2.10.27/,
    );
  });

  test("needs a mirror, Debian's keyring and Linux", async ({ dir, machine }) => {
    const closed = withEnv(machine, CLOSED);

    await expect(locateOn(closed)).rejects.toThrow(/apt\s+Debian's keyring is not installed/);
    await writeFile(join(dir, "debian.gpg"), "");
    await expect(locateOn(closed)).rejects.toThrow(/apt\s+apt's source lists name no Debian/);
    await expect(locateOn({ ...closed, platform: "darwin" })).rejects.toThrow(/is not Linux/);
  });
});

describe("Go", () => {
  test("builds it when nothing else has it", async ({ dir, machine }) => {
    // A `go` that leaves what `go install` would.
    await putScript(
      join(dir, "path", "go"),
      `[ "$1" = version ] && exit 0
       printf '#!/bin/sh\\necho nats-server: v${PREFERRED_VERSION}\\n' > "$GOBIN/nats-server"
       /bin/chmod 755 "$GOBIN/nats-server"`,
    );
    const closed = withEnv(machine, CLOSED);

    expect(await locateOn(closed)).toMatchObject({ source: "go", version: PREFERRED_VERSION });
  });
});

/** No release can be downloaded. */
const CLOSED = { NATS_SERVER_DOWNLOAD_BASE: "http://127.0.0.1:9" };

/** An `apt-get` and a `dpkg-deb` that know one package, with another version in each suite. */
async function putDebian(dir: string, versions: Readonly<Record<string, string>>): Promise<void> {
  await mkdir(join(dir, "apt", "sources.list.d"), { recursive: true });
  await writeFile(join(dir, "debian.gpg"), "");
  await writeFile(
    join(dir, "apt", "sources.list.d", "debian.sources"),
    "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n",
  );
  const cases = Object.entries(versions).map(
    ([suite, version]) => `${suite}) version=${version} ;;`,
  );
  await putScript(
    join(dir, "path", "apt-get"),
    `PATH=/usr/bin:/bin
     case "$*" in
       *update) cat mirror.list >> "$LOG"; echo "$*" >> "$LOG" ;;
       *download\\ nats-server) touch nats-server_1_amd64.deb ;;
     esac`,
  );
  await putScript(
    join(dir, "path", "dpkg-deb"),
    `PATH=/usr/bin:/bin
     case "$(basename "$PWD")" in ${cases.join(" ")} *) exit 1 ;; esac
     mkdir -p "$3/usr/sbin"
     printf '#!/bin/sh\\necho nats-server: v%s\\n' "$version" > "$3/usr/sbin/nats-server"
     chmod 755 "$3/usr/sbin/nats-server"`,
  );
}

function withEnv(machine: Machine, env: NodeJS.ProcessEnv): Machine {
  return { ...machine, env: { ...machine.env, ...env } };
}

/** The directories of `tar` and `gzip`, which a machine that unpacks needs. */
function binDirs(): string {
  return "/usr/bin:/bin";
}

async function putScript(path: string, script: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  return path;
}

/** A program that says it is a nats-server. */
function putServer(dir: string, version: string): Promise<string> {
  return putScript(join(dir, "nats-server"), `echo "nats-server: v${version}"`);
}

async function putCached(dir: string, version: string): Promise<string> {
  const path = await putServer(join(dir, "cache", "swarm-mesh", "nats-server", version), version);
  const sha256 = createHash("sha256")
    .update(await readFile(path))
    .digest("hex");
  await writeFile(`${path}.sha256`, `${sha256}  nats-server\n`);
  return path;
}

/** A server of release files on this machine, with a real archive. */
async function serveRelease(
  dir: string,
  { sums }: { readonly sums?: (file: string) => string },
): Promise<{ base: string; downloads: () => number } & AsyncDisposable> {
  const stem = `nats-server-v${PREFERRED_VERSION}-linux-amd64`;
  await putServer(join(dir, "release", stem), PREFERRED_VERSION);
  execFileSync("tar", ["-czf", `${stem}.tar.gz`, stem], { cwd: join(dir, "release") });
  const archive = await readFile(join(dir, "release", `${stem}.tar.gz`));
  const sha256 = createHash("sha256").update(archive).digest("hex");
  const listing = sums?.(`${stem}.tar.gz`) ?? `${sha256}  ${stem}.tar.gz\n`;

  let downloads = 0;
  const files = new Map<string | undefined, string | Buffer>([
    [`/v${PREFERRED_VERSION}/SHA256SUMS`, listing],
    [`/v${PREFERRED_VERSION}/${stem}.tar.gz`, archive],
  ]);
  const server = createServer((request, response) => {
    const file = files.get(request.url);
    if (request.url?.endsWith(".tar.gz") === true) downloads++;
    response.writeHead(file === undefined ? 404 : 200).end(file);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  return {
    base: `http://127.0.0.1:${address.port}`,
    downloads: () => downloads,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
