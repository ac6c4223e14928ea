import { expect, test } from "vitest";
import { ACCOUNT_NAMES, ACCOUNTS, importsOf } from "../src/accounts.ts";
import { accountOf, permissionsOf } from "../src/permissions.ts";
import { ROLE_NAMES, rolesIn } from "../src/roles.ts";

test.each(ROLE_NAMES)(
  "%s publishes and hears something: an empty list would mean everything",
  (role) => {
    const { publish, subscribe } = permissionsOf(role);
    expect(publish.allow.length).toBeGreaterThan(0);
    expect(subscribe.allow.length).toBeGreaterThan(0);
  },
);

test.each(ROLE_NAMES)("%s is granted nothing twice", (role) => {
  const { publish, subscribe } = permissionsOf(role);
  for (const list of [publish.allow, publish.deny, subscribe.allow]) {
    expect([...new Set(list)]).toEqual(list);
  }
});

test("a node is held to its own id", () => {
  expect(accountOf("node")).toBe("NODES");
  expect(permissionsOf("node", "n1")).toMatchObject({
    publish: { deny: [], allow: expect.arrayContaining(["mesh.tasks.outcome.n1.*"]) },
    subscribe: { allow: ["mesh.node.n1.>", "_INBOX_n1.>"] },
    allowResponses: { max: 1, expiresMs: 300_000 },
  });
});

test.each(["*", ">", "n1.>", "a b", ""])(
  "%j is refused as an id: it would be a wider grant",
  (id) => {
    expect(() => permissionsOf("node", id)).toThrow(RangeError);
  },
);

test("whoever may have answers written anywhere is in the account of the control plane", () => {
  for (const role of ROLE_NAMES.filter((name) => accountOf(name) !== "MESH")) {
    const { allow } = permissionsOf(role).publish;
    expect(allow.filter((subject) => subject.startsWith("$JS"))).toEqual([]);
  }
  expect(ACCOUNT_NAMES.filter((name) => ACCOUNTS[name].jetstream)).toEqual(["MESH"]);
});

test("nobody is in the server's account, and it reaches nothing", () => {
  expect(rolesIn("SYS")).toEqual([]);
  expect(importsOf("SYS")).toEqual([]);
});
