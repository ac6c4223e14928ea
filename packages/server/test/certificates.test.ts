import { X509Certificate } from "node:crypto";
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@swarm-mesh/runtime";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ensureCertificates } from "../src/certificates.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "mesh-certificates-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const DAY_MS = 86_400_000;
const hosts = ["nats.example.org", "10.0.0.4"];

async function at(name: string): Promise<string> {
  return readFile(join(dir, "tls", name), "utf8");
}

test("a certificate is signed by the authority, for the hosts and this machine, for a year", async () => {
  const { until, ...made } = await ensureCertificates(dir, { hosts });

  expect(made.hosts).toEqual([...hosts, "localhost", "127.0.0.1", "::1"]);
  expect(until - Date.now()).toBeGreaterThan(364 * DAY_MS);
  const certificate = new X509Certificate(await at("server.crt"));
  const authority = new X509Certificate(await at("ca.crt"));
  expect(certificate.verify(authority.publicKey)).toBe(true);
  expect(certificate.checkHost("nats.example.org")).toBe("nats.example.org");
  expect(certificate.checkIP("10.0.0.4")).toBe("10.0.0.4");
  expect(certificate.ca).toBe(false);
  expect(authority.ca).toBe(true);
});

test("keys can be read by their owner alone", async () => {
  await ensureCertificates(dir, { hosts });

  for (const name of ["ca.key", "server.key"]) {
    expect((await stat(join(dir, "tls", name))).mode & 0o777).toBe(0o600);
  }
});

test("a repeat changes nothing, whether it names the hosts or not", async () => {
  await ensureCertificates(dir, { hosts });
  const before = await at("server.crt");

  await ensureCertificates(dir, { hosts });
  await ensureCertificates(dir, { hosts: [] });

  expect(await at("server.crt")).toBe(before);
});

test.each([
  ["other hosts are named", { hosts: ["other.example.org"] }],
  ["it ends in less than 90 days", { hosts, clock: later(280) }],
])("a new certificate of the same authority is made when %s", async (_, options) => {
  await ensureCertificates(dir, { hosts });
  const [certificate, authority] = [await at("server.crt"), await at("ca.crt")];

  const made = await ensureCertificates(dir, options);

  expect(await at("server.crt")).not.toBe(certificate);
  expect(await at("ca.crt")).toBe(authority);
  expect(made.hosts).toEqual([...options.hosts, "localhost", "127.0.0.1", "::1"]);
});

test("a certificate of another authority is replaced", async () => {
  await ensureCertificates(dir, { hosts });
  const certificate = await at("server.crt");
  for (const name of ["ca.crt", "ca.key"]) await rm(join(dir, "tls", name));

  await ensureCertificates(dir, { hosts: [] });

  expect(await at("server.crt")).not.toBe(certificate);
});

test("an authority whose key is gone, or can be read by others, is refused", async () => {
  await ensureCertificates(dir, { hosts });
  const key = join(dir, "tls", "ca.key");

  await chmod(key, 0o644);
  await expect(ensureCertificates(dir, { hosts })).rejects.toThrow(/ca\.key can be read by others/);
  await rm(key);
  await expect(ensureCertificates(dir, { hosts })).rejects.toThrow(/its key .*ca\.key is not/);
});

test("what is no key or certificate is said by its name", async () => {
  await ensureCertificates(dir, { hosts });
  await writeFile(join(dir, "tls", "server.crt"), "hello");

  await expect(ensureCertificates(dir, { hosts })).rejects.toThrow(/server\.crt holds no cert/);
});

test.each(["nats.example.org:4222", "tls://a", "a b", "", "-a"])("%j is no host", async (host) => {
  await expect(ensureCertificates(dir, { hosts: [host] })).rejects.toThrow(/is no host/);
});

function later(days: number) {
  return { ...systemClock, now: () => Date.now() + days * DAY_MS };
}
