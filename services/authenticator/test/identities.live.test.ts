import { createUser } from "@nats-io/nkeys";
import type { Identity } from "@swarm-mesh/protocol";
import { latch } from "@swarm-mesh/runtime";
import { type Deps, test } from "@swarm-mesh/testkit";
import { expect } from "vitest";
import { enrolled, revoked } from "../src/admission.ts";
import { Identities } from "../src/identities.ts";

const DEED = { by: "ada@box", at: "2026-01-01T00:00:00.000Z" };

/** A replica's knowledge, with what it was told of others' revocations. */
function replica(deps: Deps) {
  const told: string[] = [];
  const current = latch<void>();
  const identities = new Identities(
    {
      ...deps,
      mesh: "ABCDEFGH",
      onChange: () => undefined,
      onRevoked: (publicKey) => void told.push(publicKey),
    },
    () => current.resolve(),
  );
  return { identities, told, current: current.promise };
}

const newNode = (id: string): Identity =>
  enrolled(undefined, { id, publicKey: createUser().getPublicKey(), how: "key" }, DEED);

async function enrolAndRevoke(identities: Identities, id: string): Promise<string> {
  const node = newNode(id);
  await identities.write("enrolled", node, 0);
  expect(identities.isRevoked(node.publicKey)).toBe(false);
  const { revision } = await identities.read(id);
  await identities.write("revoked", revoked(node, DEED, undefined), revision);
  return node.publicKey;
}

test("a replica knows what it revoked before its watch says so", async ({ deps }) => {
  // Its watch never begins.
  const { identities, told } = replica(deps);
  const key = await enrolAndRevoke(identities, "n1");
  expect(identities.isRevoked(key)).toBe(true);
  expect(identities.someRevoked).toBe(true);
  expect(told).toEqual([]);
});

test("a replica is told of what others revoke from then on", async ({ deps, run }) => {
  const { identities: writer } = replica(deps);
  const before = await enrolAndRevoke(writer, "n1");
  const other = replica(deps);
  run((signal) => other.identities.run(signal));
  await other.current;
  expect(other.identities.isRevoked(before)).toBe(true);
  const after = await enrolAndRevoke(writer, "n2");
  await expect.poll(() => other.told).toEqual([after]);
});
