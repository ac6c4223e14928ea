import { encode } from "@swarm-mesh/protocol";
import { NatsServer } from "@swarm-mesh/testkit";
import { connect } from "nats";
import { test as base, expect } from "vitest";
import { MeshClient } from "../src/mod.ts";
import { recordOf } from "./mesh-double.ts";

const TASKS = Array.from({ length: 60 }, (_, i) => `w${i}`);

const CONF = `
authorization { users: [ { user: u, password: p, permissions {
  publish { allow: [ "mesh.tasks.get.*" ] }
  subscribe { allow: [ "_INBOX_client.>" ] }
} }, { user: narrow, password: p, permissions {
  subscribe { allow: [ "_INBOX_client.>", ${TASKS.map((id) => `"mesh.tasks.state.${id}"`)} ] }
} }, { user: all, password: p } ] }
`;

/** A server with a user who may do next to nothing, and one who may follow single tasks. */
const test = base.extend<{ readonly url: string }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
  url: async ({}, use) => {
    const server = await NatsServer.start(CONF);
    await use(server.url);
    await server.stop();
  },
});

test("a forbidden submit or request fails at once, not at the deadline", async ({ url }) => {
  const nc = await connect({ servers: url, user: "u", pass: "p", inboxPrefix: "_INBOX_client" });
  const client = new MeshClient(nc);
  const submitting = client.submit("echo", "hi");
  await expect(submitting).rejects.toMatchObject({ code: "denied" });
  await expect(client.nodes()).rejects.toMatchObject({ code: "denied" });
  const results = [];
  for await (const result of client.submitMany([{ capability: "a" }, { capability: "b" }])) {
    results.push(result);
  }
  expect(results).toMatchObject([{ error: { code: "denied" } }, { error: { code: "denied" } }]);
  await nc.close();
});

test("whoever may follow single tasks alone follows many of them all the same", async ({ url }) => {
  const connectAs = (user: string) =>
    connect({ servers: url, user, pass: "p", inboxPrefix: "_INBOX_client" });
  const [nc, all] = await Promise.all([connectAs("narrow"), connectAs("all")]);
  const client = new MeshClient(nc);
  const waits = TASKS.map((id) => client.wait(id));
  // Two round trips: the first tells that all at once is forbidden.
  await nc.flush();
  await nc.flush();
  for (const id of TASKS) {
    const record = encode(recordOf({ id, status: "succeeded", result: id }));
    all.publish(`mesh.tasks.state.${id}`, record);
  }
  expect((await Promise.all(waits)).map((record) => record.result)).toEqual(TASKS);
  await nc.close();
  await all.close();
});
