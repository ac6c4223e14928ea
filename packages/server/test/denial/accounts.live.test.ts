/**
 * The walls between accounts, on a real server: what an answer can be made to do, and what somebody
 * reaches who is granted everything inside an account. An observer in MESH hears all of it.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { jetstreamManager } from "@nats-io/jetstream";
import { createUser } from "@nats-io/nkeys";
import {
  type AccountName,
  accountOf,
  BUCKETS,
  permissionsOf,
  ROLE_NAMES,
  STREAMS,
} from "@swarm-mesh/protocol";
import { seedPath } from "@swarm-mesh/server";
import type { NatsConnection } from "nats";
import { beforeAll, describe, expect, test } from "vitest";
import { addStranger, startMesh, type TestMesh } from "../mesh.ts";
import { forbidden } from "./mutants.ts";
import { mayReach, OTHER, publishing, SELF } from "./resources.ts";

/** Where users are who are not trusted with JetStream. */
const STRANGERS = ["NODES", "CLIENTS"] as const satisfies readonly AccountName[];

let mesh: TestMesh;
let observer: NatsConnection;
/** The subjects of all that the observer heard since it was last emptied. */
const heard = new Set<string>();

beforeAll(async () => {
  mesh = await startMesh([SELF, OTHER], addUnlimitedUsers);
  await createStores(await mesh.as("admin"));
  // All connections first: the server tells the control plane of each.
  for (const user of [SELF, OTHER, "client", "viewer", ...STRANGERS]) await mesh.as(user);
  observer = await mesh.connectAs("admin");
  observer.subscribe(">", { callback: (_, { subject }) => void heard.add(subject) });
  await observer.flush();
});

/** Replies that the server lets nobody name, wherever he is. */
const PROTECTED = /^(\$JS\.ACK|_R_)\./;

describe.each(ROLE_NAMES.filter((role) => accountOf(role) !== "MESH"))("a %s", (role) => {
  const user = role === "node" ? SELF : role;
  const asks = permissionsOf(role, user).publish.allow.map(oneOf);
  const replies = [...new Set(forbidden(role, "publish").map(({ subject }) => subject))];

  test.each(asks)("has no answer to %s written where it may not write", async (ask) => {
    const nc = await mesh.as(user);
    const echo = await echoOn(await mesh.as("admin"), ask);
    await forget();

    for (const reply of replies) nc.publish(ask, "chosen", { reply });
    // Answers come in order: once this one is here, the others have gone wherever they go.
    await nc.request(ask, "chosen");
    await observer.flush();

    expect(heard).toContain(ask);
    expect(replies.filter((reply) => heard.has(reply))).toEqual([]);
    echo();
  });
});

describe.each(STRANGERS)("whoever may do everything in account %s", (account) => {
  test("reaches of the control plane what the account is shown", async () => {
    const nc = await mesh.as(account);
    const subjects = publishing().map(({ subject }) => subject);
    await forget();

    for (const subject of subjects) nc.publish(subject, "{}");
    await nc.flush();
    await observer.flush();

    const meant = publishing().filter((deed) => mayReach(deed, account));
    expect([...heard].filter((subject) => subjects.includes(subject)).sort()).toEqual(
      [...new Set(meant.map(({ subject }) => subject))].sort(),
    );
  });

  test("hears of the control plane what the account is shown", async () => {
    const [nc, admin] = [await mesh.as(account), await mesh.as("admin")];
    const shown = { NODES: /^mesh\.node\./, CLIENTS: /^mesh\.tasks\.state\.[^.]+$/ }[account];
    const listened = new Set<string>();
    const ear = nc.subscribe(">", { callback: (_, { subject }) => void listened.add(subject) });
    await nc.flush();

    const subjects = publishing()
      .map(({ subject }) => subject)
      .filter((subject) => !/^\$(JS|SYS)|^mesh\.tasks\.(outcome|progress)/.test(subject));
    for (const subject of subjects) admin.publish(subject, "{}");
    await admin.flush();
    await nc.flush();

    expect([...listened].sort()).toEqual([
      ...new Set(subjects.filter((subject) => shown.test(subject)).sort()),
    ]);
    ear.unsubscribe();
  });
});

// Last, because what the server writes on those subjects is obeyed.
test("the observer would have heard it: in the account of the control plane it works", async () => {
  const viewer = await mesh.as("viewer");
  const subjects = [...new Set(publishing().map(({ subject }) => subject))];
  const ask = "$JS.API.STREAM.NAMES";
  await forget();

  for (const reply of subjects) viewer.publish(ask, "", { reply });
  await viewer.request(ask);
  await observer.flush();

  expect(subjects.filter((subject) => !heard.has(subject) && !PROTECTED.test(subject))).toEqual([]);
});

/** Empties what was heard, when all that was sent before has come. */
async function forget(): Promise<void> {
  await observer.flush();
  heard.clear();
}

/** A subject that a granted one covers. */
function oneOf(granted: string): string {
  return granted.replace(/\*$/, "t9").replace(/>$/, "t9");
}

/** Somebody who answers what JetStream does not answer by itself, with what was sent. */
async function echoOn(nc: NatsConnection, subject: string): Promise<() => void> {
  if (subject.startsWith("$KV.") || subject.startsWith("mesh.tasks.submit."))
    return () => undefined;
  const echo = nc.subscribe(subject, {
    callback: (_, message) => void message.respond(message.data),
  });
  await nc.flush();
  return () => echo.unsubscribe();
}

/** Two users more, named for their account, whom no permission limits. */
async function addUnlimitedUsers(dir: string): Promise<void> {
  await addStranger(dir);
  for (const [account, file, users] of [
    ["NODES", "nodes.conf", "users: ["],
    ["CLIENTS", "accounts.conf", "users: [\n      { # client:"],
  ] as const) {
    const user = createUser();
    await writeFile(seedPath(dir, account), user.getSeed(), { mode: 0o600 });
    const path = join(dir, file);
    const text = await readFile(path, "utf8");
    const added = users.replace("users: [", `users: [ { nkey: "${user.getPublicKey()}" }`);
    expect(text).toContain(users);
    await writeFile(path, text.replace(users, added));
  }
}

async function createStores(admin: NatsConnection): Promise<void> {
  const { streams } = await jetstreamManager(admin);
  for (const { name, subjects } of STREAMS) await streams.add({ name, subjects: [...subjects] });
  for (const { name } of BUCKETS) {
    await streams.add({ name: `KV_${name}`, subjects: [`$KV.${name}.>`], allow_direct: true });
  }
}
