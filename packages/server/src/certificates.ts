/**
 * An authority of the mesh's own, and the server's certificate, signed by it.
 *
 *     <dir>/tls/ca.crt       what everybody who connects needs; no secret
 *     <dir>/tls/ca.key       signs certificates; used here alone, mode 600
 *     <dir>/tls/server.crt   the server's certificate
 *     <dir>/tls/server.key   its key, mode 600
 *
 * A repeat keeps what is good: the authority for good, the server's certificate until its hosts
 * change or it is near its end.
 */
import "reflect-metadata";
import { createPrivateKey, webcrypto } from "node:crypto";
import { chown, mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { isIP } from "node:net";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { type Clock, dateOf, systemClock } from "@swarm-mesh/runtime";
import { ServerError } from "./errors.ts";
import { requirePrivate } from "./keys.ts";
import { hasCode } from "./lock.ts";

/** What a server with TLS needs, and those who connect to it. Paths are absolute. */
export interface Certificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** Names and addresses that the server's certificate is for; `localhost` is always among them. */
  readonly hosts: readonly string[];
  /** When it ends, milliseconds since the epoch. */
  readonly until: number;
}

const DAY_MS = 24 * 60 * 60 * 1_000;
const CA_DAYS = 3_650;
const SERVER_DAYS = 365;
/** A repeat renews a certificate that has less left: a quarter of a year to notice. */
const RENEW_DAYS = 90;
/** Clocks of other machines may be behind. */
const BACKDATED_MS = 60 * 60 * 1_000;
/** So that what runs on the server's machine can use the loopback address, encrypted as well. */
const LOCAL_HOSTS = ["localhost", "127.0.0.1", "::1"];
/** Handshakes cost a server a twentieth of what RSA costs: thousands of nodes connect at once. */
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

interface Authority {
  readonly certificate: X509Certificate;
  readonly signingKey: webcrypto.CryptoKey;
}

/** Has the directory been set up for TLS? */
export async function readCertificates(dir: string): Promise<Certificates | undefined> {
  const paths = pathsOf(dir);
  const pem = await textOf(paths.cert);
  if (pem === undefined) return undefined;
  const certificate = parse(paths.cert, pem);
  const names = certificate.getExtension(SubjectAlternativeNameExtension)?.names.toJSON() ?? [];
  return {
    ...paths,
    hosts: names.map(({ value }) => value),
    until: certificate.notAfter.getTime(),
  };
}

/**
 * Makes what is missing of authority and certificate. `hosts` are the names and addresses that others
 * connect by; none means those that the certificate has already, else this machine's name. Throws a ServerError.
 */
export async function ensureCertificates(
  dir: string,
  { hosts, clock = systemClock }: { readonly hosts: readonly string[]; readonly clock?: Clock },
): Promise<Certificates> {
  for (const host of hosts) checkHost(host);
  const paths = pathsOf(dir);
  await mkdir(join(dir, "tls"), { recursive: true, mode: 0o755 });
  const authority = await ensureAuthority(dir, paths.ca, clock);
  const present = await readCertificates(dir);
  const names = hosts.length > 0 ? hosts : (present?.hosts ?? [hostname()]);
  const wanted = [...new Set([...names, ...LOCAL_HOSTS])];
  if (present !== undefined && (await isGood(present, wanted, authority, clock))) return present;
  await makeServerCertificate(paths, wanted, authority, clock);
  const made = await readCertificates(dir);
  if (made === undefined) throw new ServerError("bad-key", `${paths.cert} was not kept`);
  return made;
}

function pathsOf(dir: string): {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
} {
  const at = (name: string): string => resolve(dir, "tls", name);
  return { ca: at("ca.crt"), cert: at("server.crt"), key: at("server.key") };
}

async function isGood(
  present: Certificates,
  wanted: readonly string[],
  authority: Authority,
  clock: Clock,
): Promise<boolean> {
  if (present.until - clock.now() < RENEW_DAYS * DAY_MS) return false;
  if (present.hosts.join() !== wanted.join()) return false;
  if ((await textOf(present.key)) === undefined) return false;
  const certificate = parse(present.cert, (await textOf(present.cert)) ?? "");
  return certificate.verify({ publicKey: authority.certificate, signatureOnly: true });
}

async function ensureAuthority(dir: string, path: string, clock: Clock): Promise<Authority> {
  const keyPath = resolve(dir, "tls", "ca.key");
  const [pem, key] = [await textOf(path), await textOf(keyPath)];
  if (pem !== undefined && key !== undefined) {
    await requirePrivate(keyPath);
    return { certificate: parse(path, pem), signingKey: await importKey(keyPath, key) };
  }
  if (pem !== undefined) {
    throw new ServerError(
      "bad-key",
      `${path} is there, its key ${keyPath} is not: bring it back, or remove the folder tls to begin anew`,
    );
  }
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    ...serialAndTimes(clock, CA_DAYS),
    name: "CN=Swarm Mesh",
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      // It signs servers' certificates, and no other authority's.
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  await writeKey(keyPath, keys.privateKey);
  await write(path, certificate.toString("pem"), 0o644);
  return { certificate, signingKey: keys.privateKey };
}

async function makeServerCertificate(
  paths: { readonly cert: string; readonly key: string },
  hosts: readonly string[],
  { certificate: authority, signingKey }: Authority,
  clock: Clock,
): Promise<void> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.create({
    ...serialAndTimes(clock, SERVER_DAYS),
    subject: "CN=nats-server",
    issuer: authority.subject,
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      // A client, too, where servers of a cluster connect to each other.
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      new SubjectAlternativeNameExtension(
        hosts.map((value) => ({ type: isIP(value) > 0 ? "ip" : "dns", value })),
      ),
    ],
  });
  // The key first: a server that reads its files in between refuses the pair, and keeps the old one.
  await writeKey(paths.key, keys.privateKey);
  await write(paths.cert, certificate.toString("pem"), 0o644);
}

function serialAndTimes(clock: Clock, days: number) {
  const now = clock.now();
  const serial = webcrypto.getRandomValues(new Uint8Array(16));
  // A serial number is positive.
  serial[0] = (serial[0] ?? 0) & 0x7f;
  return {
    serialNumber: Buffer.from(serial).toString("hex"),
    notBefore: dateOf(now - BACKDATED_MS),
    notAfter: dateOf(now + days * DAY_MS),
  };
}

function checkHost(host: string): void {
  if (isIP(host) > 0) return;
  if (
    /^(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/.test(
      host,
    )
  )
    return;
  throw new ServerError(
    "bad-key",
    `${JSON.stringify(host)} is no host: a name such as nats.example.org, or an address, without a port`,
  );
}

async function importKey(path: string, pem: string): Promise<webcrypto.CryptoKey> {
  try {
    const der = createPrivateKey(pem).export({ format: "der", type: "pkcs8" });
    return await webcrypto.subtle.importKey("pkcs8", der, ALGORITHM, false, ["sign"]);
  } catch (error) {
    throw new ServerError("bad-key", `${path} holds no usable key`, { cause: error });
  }
}

function parse(path: string, pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw new ServerError("bad-key", `${path} holds no certificate`, { cause: error });
  }
}

async function writeKey(path: string, key: webcrypto.CryptoKey): Promise<void> {
  const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", key));
  const pem = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  await write(path, pem.export({ format: "pem", type: "pkcs8" }).toString(), 0o600);
}

/** A reader sees the old file or the new one. The owner stays: the server's user, where it has one. */
async function write(path: string, text: string, mode: number): Promise<void> {
  const draft = `${path}.draft`;
  await rm(draft, { force: true });
  const file = await open(draft, "wx", mode);
  try {
    await file.writeFile(text.endsWith("\n") ? text : `${text}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  const before = await stat(path).catch(() => undefined); // None: it is ours.
  if (before !== undefined && process.getuid?.() === 0) await chown(draft, before.uid, before.gid);
  await rename(draft, path);
}

/** What is in a file; `undefined` when there is none. */
export async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}
