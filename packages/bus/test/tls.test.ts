import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { checkServerIdentity, PeerCertificate } from "node:tls";
import { afterAll, describe, expect, test } from "vitest";
import { isThisMachine, protectionFrom, tlsFor } from "../src/tls.ts";

const dir = mkdtempSync(join(tmpdir(), "mesh-tls-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

const ca = file("ca.crt", "-----BEGIN CERTIFICATE-----\n");

describe("this machine", () => {
  test.each([
    "nats://127.0.0.1:4222",
    "127.0.0.1",
    "tls://127.8.9.1:4222",
    "localhost",
    "nats://LOCALHOST:4222",
    "nats://user:pass@localhost:4222",
    "nats://[::1]:4222",
  ])("is %s", (server) => {
    expect(isThisMachine(server)).toBe(true);
  });

  test.each([
    "nats://10.0.0.4:4222",
    "nats://0.0.0.0:4222",
    "nats:4222",
    "127.0.0.1.example.org",
    "nats://localhost.example.org",
    "nats://localhost@example.org:4222",
    "nats://[2001:db8::1]:4222",
    "nats://[::ffff:10.0.0.4]",
  ])("is not %s", (server) => {
    expect(isThisMachine(server)).toBe(false);
  });
});

describe("TLS is required", () => {
  test.each([
    ["of another machine", ["nats://10.0.0.4"], {}],
    ["when one of several is another machine", ["localhost", "10.0.0.4"], {}],
    ["of this one by its address", ["tls://localhost"], {}],
    ["of this one by an authority", ["localhost"], { ca }],
    ["when plain text is allowed but the address says TLS", ["tls://a"], { allowPlaintext: true }],
  ])("%s", async (_, servers, protection) => {
    expect(await tlsFor(servers, protection)).toBeDefined();
  });

  test.each([
    ["of this machine", ["nats://127.0.0.1"], {}],
    ["of another where the network is one's own", ["nats://nats:4222"], { allowPlaintext: true }],
  ])("not %s", async (_, servers, protection) => {
    expect(await tlsFor(servers, protection)).toBeUndefined();
  });
});

describe("a server that is known by its address alone", () => {
  const shows = (subjectaltname: string) =>
    ({ subject: { CN: "nats-server" }, subjectaltname }) as PeerCertificate;

  // So Node.js calls it: also one that another server told of after the connection was made.
  test.each([
    ["has a name of ours", ["tls://nats.example.org"], "DNS:nats.example.org", true],
    ["has an address of ours", ["tls://10.0.0.4:4222", "tls://a.b"], "IP Address:10.0.0.4", true],
    ["has somebody's name", ["tls://nats.example.org"], "DNS:evil.example.org", false],
    ["is only some machine", ["tls://nats.example.org"], "DNS:localhost", false],
    ["has another address", ["tls://10.0.0.4"], "IP Address:10.0.0.5", false],
  ])("%s", async (_, servers, names, isGood) => {
    const tls = (await tlsFor(servers, {})) as { checkServerIdentity: typeof checkServerIdentity };
    expect(tls.checkServerIdentity("localhost", shows(names)) === undefined).toBe(isGood);
  });
});

test("the files go to the library by name, to be read again at every connection", async () => {
  expect(await tlsFor(["localhost"], { ca })).toMatchObject({ caFile: ca });
});

test.each([
  ["is not there", join(dir, "none.crt"), /^NATS_CA cannot be read: ENOENT.*none\.crt/],
  ["is something else", file("text", "hello"), /^NATS_CA .*text holds no certificate in PEM$/],
])("a file that %s is refused at once", async (_, path, message) => {
  await expect(tlsFor(["localhost"], { ca: path })).rejects.toThrow(message);
});

test("the environment speaks as it does to the nats command", () => {
  expect(protectionFrom({})).toEqual({ allowPlaintext: false });
  expect(
    protectionFrom({ NATS_CA: "a", NATS_CERT: "b", NATS_KEY: "", MESH_ALLOW_PLAINTEXT: "1" }),
  ).toEqual({ ca: "a", cert: "b", allowPlaintext: true });
});
