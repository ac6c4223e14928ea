/**
 * That the matrix would notice, on a real server: users whose permissions are a mutant's, each in the
 * account of its role, are let do what catches the mutant. One in so many; all of them by
 * `MESH_TEST_MUTANTS=all`. What is a mutant, and that each is caught: mutants.test.ts.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createUser } from "@nats-io/nkeys";
import { accountOf, type Permissions, ROLE_NAMES } from "@swarm-mesh/protocol";
import { seedPath } from "@swarm-mesh/server";
import { beforeAll, expect, test } from "vitest";
import { startMesh, type TestMesh } from "../mesh.ts";
import { refusedOf } from "./attempts.ts";
import { DIRECTIONS, type Mutant, mutants } from "./mutants.ts";
import { SELF } from "./resources.ts";

/** Every so many of the wider lines of a role; of the removed deny lines, all. */
const ONE_IN = process.env["MESH_TEST_MUTANTS"] === "all" ? 1 : 20;

const SAMPLE = ROLE_NAMES.flatMap((role) =>
  DIRECTIONS.flatMap((direction) => {
    const all = mutants(role, direction);
    return all.filter(({ what }, index) => what.startsWith("without") || index % ONE_IN === 0);
  }),
).map((mutant, index) => ({ ...mutant, user: `mutant-${index}` }));

let mesh: TestMesh;

beforeAll(async () => {
  mesh = await startMesh([SELF], addUsers);
});

test.each(SAMPLE)("$role, to $direction: $what", async ({ user, direction, caughtBy }) => {
  const nc = await mesh.connectAs(user);
  const refused = await refusedOf(nc, direction, caughtBy);

  expect(caughtBy.filter((subject) => refused.has(subject))).toEqual([]);
  await nc.close();
});

async function addUsers(dir: string): Promise<void> {
  const accounts = join(dir, "accounts.conf");
  let text = await readFile(accounts, "utf8");
  for (const account of ["MESH", "NODES", "CLIENTS", "LOBBY"]) {
    const users = await Promise.all(
      SAMPLE.filter(({ role }) => accountOf(role) === account).map((mutant) => userOf(dir, mutant)),
    );
    const start = text.indexOf(`\n  ${account} {`);
    const [before, after] = [text.slice(0, start), text.slice(start)];
    text =
      account === "NODES"
        ? before + after.replace('include "nodes.conf"', `users: [\n${users.join("")}]`)
        : before + after.replace("users: [", `users: [\n${users.join("")}`);
  }
  await writeFile(accounts, text);
}

async function userOf(
  dir: string,
  { user, permissions }: Mutant & { user: string },
): Promise<string> {
  const key = createUser();
  await writeFile(seedPath(dir, user), key.getSeed(), { mode: 0o600 });
  // JSON is what nats-server reads, too.
  return `{ nkey: "${key.getPublicKey()}", permissions: ${JSON.stringify(limits(permissions))} }\n`;
}

function limits({ publish, subscribe }: Permissions): unknown {
  return { publish, subscribe };
}
