/** Signed tasks through a whole mesh: client, coordinator, two nodes that trust one signer. */
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SigningKey } from "@swarm-mesh/bus";
import { MeshClient } from "@swarm-mesh/client";
import { MeshNode, RetryableError, type TaskContext } from "@swarm-mesh/node";
import {
  Header,
  nodeSubject,
  signatureHeaders,
  signedText,
  submitSubject,
  TIMEOUT_DEFAULT_MS,
} from "@swarm-mesh/protocol";
import { isoTime, latch } from "@swarm-mesh/runtime";
import { makeSeedFile, readSeed } from "@swarm-mesh/server";
import { test as base } from "@swarm-mesh/testkit";
import fc from "fast-check";
import { headers, type NatsConnection } from "nats";
import { expect } from "vitest";
import { FakeIo } from "./fake-io.ts";
import { SmallMesh } from "./small-mesh.ts";

const HOUR_MS = 3_600_000;

class Scene {
  readonly mesh: SmallMesh;
  readonly nc: NatsConnection;
  readonly dir: string;
  /** What the handlers were given: `<node> <id> <payload>`. */
  readonly ran: string[] = [];
  readonly nodes: MeshNode[] = [];

  constructor(mesh: SmallMesh, nc: NatsConnection, dir: string) {
    this.mesh = mesh;
    this.nc = nc;
    this.dir = dir;
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  async node(id: string, handle?: (context: TaskContext) => unknown): Promise<MeshNode> {
    const run = (input: unknown, context: TaskContext) => {
      this.ran.push(`${id} ${context.id} ${String(input)}`);
      return handle === undefined ? `${context.signer}: ${String(input)}` : handle(context);
    };
    const trust = { signers: this.path("signers"), requireSigned: ["deploy"] };
    const node = new MeshNode({
      id,
      servers: this.mesh.url,
      slots: 8,
      labels: { zone: "eu" },
      trust,
    })
      .handle("deploy", run)
      .handle("notify", run);
    this.nodes.push(node);
    await node.start();
    return node;
  }

  /** A client whose tasks are signed. */
  async client(seed = "ci.nk"): Promise<MeshClient> {
    const signer = await readSeed(this.path(seed));
    return new MeshClient(this.nc, { inboxPrefix: "_INBOX_client", signer });
  }

  async swarmctl(...args: readonly string[]) {
    return this.mesh.swarmctl(args, new FakeIo({ cwd: this.dir }));
  }

  /** Headers of a submit of `payload`, signed. */
  async signed(id: string, payload: string): Promise<Record<string, string>> {
    const key = new SigningKey(await readSeed(this.path("ci.nk")));
    const expires = isoTime(Date.now() + HOUR_MS);
    const text = signedText({
      ...{ id, capability: "deploy", requires: "", expires, signer: key.publicKey },
      timeoutMs: TIMEOUT_DEFAULT_MS,
      payloadSha256: createHash("sha256").update(payload).digest("hex"),
    });
    const signature = { signer: key.publicKey, expires, signature: key.sign(text) };
    return { [Header.msgId]: id, ...Object.fromEntries(signatureHeaders(signature)) };
  }

  async publish(subject: string, payload: string | Uint8Array, values: Record<string, string>) {
    const h = headers();
    for (const [name, value] of Object.entries(values)) if (value !== "") h.set(name, value);
    return this.nc.request(subject, payload, { headers: h, timeout: 5_000 });
  }
}

const test = base.extend<{ readonly scene: Scene }>({
  scene: async ({ deps, server, run }, use) => {
    const dir = await mkdtemp(join(tmpdir(), "mesh-signed-"));
    const scene = new Scene(await SmallMesh.start({ deps, server, run }), deps.nc, dir);
    const made = await scene.swarmctl(
      "keys",
      "signer",
      "ci",
      "--seed",
      "ci.nk",
      "--trust",
      "signers",
    );
    expect(made).toMatchObject({ status: 0, stderr: "" });
    await use(scene);
    await Promise.all(scene.nodes.map((node) => node.stop()));
    await rm(dir, { recursive: true });
  },
});

test("what a trusted signer signed is run, and told who signed it", async ({ scene }) => {
  const node = await scene.node("s1");
  const submit = ["task", "submit", "deploy", "v1", "--wait"];
  const good = await scene.swarmctl(
    ...submit,
    "--id",
    "d1",
    "--sign-with",
    "ci.nk",
    "--expires",
    "1m",
  );
  expect(good).toEqual({ status: 0, stdout: "ci: v1\n", stderr: "" });

  const bare = await scene.swarmctl(...submit, "--id", "d2");
  expect(bare).toMatchObject({ status: 1, stderr: expect.stringContaining("(signature_missing)") });
  await makeSeedFile(scene.path("other.nk"));
  const foreign = await scene.swarmctl(...submit, "--id", "d3", "--sign-with", "other.nk");
  expect(foreign).toMatchObject({ status: 1, stderr: expect.stringContaining("(unknown_signer)") });
  expect(scene.ran).toEqual(["s1 d1 v1"]);
  expect(node.counts).toMatchObject({ untrusted: 2 });
  expect(node.untrusted).toMatchObject({ signature_missing: 1, unknown_signer: 1 });

  // Refused for good, and everyone who asks is told why.
  const record = JSON.parse((await scene.swarmctl("task", "get", "d2", "-o", "json")).stdout);
  expect(record).toMatchObject({
    status: "failed",
    attempt: 1,
    error: { code: "signature_missing" },
  });
  expect((await scene.swarmctl("why", "d2")).stdout).toContain("(signature_missing) is final");
  expect((await scene.swarmctl("dead", "get", "d2")).stdout).toContain("signature_missing");
  // The dead one under its new id, signed this time.
  const again = await scene.swarmctl("dead", "retry", "d2", "--sign-with", "ci.nk", "-o", "json");
  const { id } = JSON.parse(again.stdout) as { id: string };
  expect(await scene.swarmctl("task", "wait", id)).toMatchObject({ status: 0 });
  // Nothing has to be signed where nobody asks for it.
  expect(await scene.swarmctl("task", "submit", "notify", "x", "--wait")).toMatchObject({
    status: 0,
  });
});

test("whatever is changed on the way is refused with a reason, and nothing of it runs", async ({
  scene,
}) => {
  const node = await scene.node("s1");
  const client = await scene.client();
  const character = fc.integer({ min: 33, max: 126 }).map((code) => String.fromCharCode(code));
  const change = fc.tuple(
    fc.constantFrom(
      "payload",
      "id",
      "capability",
      Header.timeout,
      Header.requires,
      "drop",
      "signature",
    ),
    fc.constantFrom(Header.signer, Header.expires, Header.signature),
    fc.nat({ max: 200 }),
    character,
  );
  const changes = fc.sample(change, 80);
  const refusals = changes.map(async ([what, header, at, letter], index) => {
    const payload = `release ${index}`;
    const before = await scene.signed(`t${index}`, payload);
    const values = { ...before };
    let body = payload;
    let capability = "deploy";
    if (what === "payload") body = replaced(payload, at, letter);
    else if (what === "id") values[Header.msgId] = `u${index}`;
    else if (what === "capability") capability = "notify";
    else if (what === Header.timeout) values[what] = "24h";
    else if (what === Header.requires) values[what] = "zone=eu";
    else if (what === "drop") values[header] = "";
    else values[header] = replaced(before[header] ?? "", at, letter);
    await scene.publish(submitSubject(capability), body, values);
    return client.wait(values[Header.msgId] ?? "", { timeoutMs: 15_000 });
  });
  const codes = new Set<string>();
  for (const record of await Promise.all(refusals)) {
    // A header that nobody can read is refused by the coordinator already.
    expect(["failed", "rejected"]).toContain(record.status);
    codes.add(record.error?.code ?? "none");
  }
  expect([...codes].sort()).toEqual(expect.arrayContaining(["bad_header", "signature_invalid"]));
  const known = ["bad_header", "signature_invalid", "signature_expired", "unknown_signer"];
  expect([...codes].filter((code) => !known.includes(code))).toEqual([]);
  expect(scene.ran).toEqual([]);
  expect(node.counts?.untrusted).toBeGreaterThan(0);
});

test("the same message again runs nothing, wherever it is sent", async ({ scene }) => {
  const node = await scene.node("s1");
  const client = await scene.client();
  const { epoch } = await client.submitAndWait("deploy", "v1", { id: "d1", prefer: "s1" });
  const values = await scene.signed("d1", "v1");
  // To the mesh: the record says that it is over, also when the stream has forgotten the id.
  await scene.publish(submitSubject("deploy", "high"), "v1", values);
  // To the node, by someone who may write to it: as it was, and as the next try.
  const forged = (attempt: number) => ({
    ...values,
    [Header.taskId]: "d1",
    [Header.capability]: "deploy",
    [Header.attempt]: String(attempt),
    [Header.epoch]: String(epoch),
    [Header.incarnation]: String(node.incarnation),
  });
  for (const attempt of [1, 2, 7]) {
    const reply = await scene.publish(nodeSubject("s1", "task"), "v1", forged(attempt));
    expect(reply.json()).toEqual({ answer: "finished" });
  }
  expect(await client.run("notify", "last", { prefer: "s1" })).toBe("ci: last");
  expect(scene.ran).toEqual(["s1 d1 v1", expect.stringContaining("last")]);
  expect(node.untrusted).toMatchObject({ replayed: 2 });
  expect(await client.get("d1")).toMatchObject({ status: "succeeded", attempt: 1 });
});

test("tasks are tried again and moved as ever, in batches and alone", async ({ scene }) => {
  const handedOver = latch<void>();
  const first = await scene.node("s1", async (context) => {
    if (context.attempt === 1) throw new RetryableError("not yet");
    handedOver.resolve();
    await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
    throw context.signal.reason;
  });
  const client = await scene.client();
  const id = "d1";
  await client.submit("deploy", "v1", { id, backoff: "fixed:50ms", requires: { zone: "eu" } });
  await handedOver.promise;
  await scene.node("s2");
  await first.drain({ deadlineMs: 0 });
  expect(await client.result(id)).toBe("ci: v1");
  expect(scene.ran.map((line) => line.slice(0, 5))).toEqual(["s1 d1", "s1 d1", "s2 d1"]);

  const items = Array.from({ length: 60 }, (_, index) => ({
    capability: "deploy",
    id: `m${index}`,
    payload: randomBytes(16).toString("hex"),
  }));
  for await (const result of client.submitMany(items)) expect(result.kind).toBe("submitted");
  const results = await Promise.all(items.map((item) => client.result(item.id)));
  expect(results).toEqual(items.map((item) => `ci: ${item.payload}`));
});

test("a key is replaced while work goes on", async ({ scene }) => {
  await scene.node("s1");
  const add = ["keys", "signer", "ci", "--seed", "ci-2.nk", "--trust", "signers"];
  expect(await scene.swarmctl(...add)).toMatchObject({ status: 0 });
  expect((await scene.swarmctl(...add)).stdout).toContain("has this key already");
  const lines = (await readFile(scene.path("signers"), "utf8")).trimEnd().split("\n");
  expect(lines).toHaveLength(2);
  const [before, after] = [await scene.client(), await scene.client("ci-2.nk")];
  // The file is looked at a second after the last look at the earliest.
  const settled = async (client: MeshClient, code: string): Promise<void> => {
    for (let tries = 0; ; tries++) {
      const record = await client.submitAndWait("deploy", "v");
      if ((record.error?.code ?? "none") === code || tries === 100) {
        expect(record.error?.code ?? "none").toBe(code);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  await settled(after, "none");
  await settled(before, "none");
  await writeFile(scene.path("signers"), `${lines[0]} until=2026-01-01\n${lines[1]}\n`);
  await settled(before, "unknown_signer");
  await settled(after, "none");
});

function replaced(text: string, at: number, letter: string): string {
  const place = at % text.length;
  const other = text[place] === letter ? "~" : letter;
  return text.slice(0, place) + (text[place] === other ? "!" : other) + text.slice(place + 1);
}
