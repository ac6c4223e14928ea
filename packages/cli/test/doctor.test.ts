import { SERVICES } from "@swarm-mesh/protocol";
import { describe, expect, test } from "vitest";
import { diagnose, settled } from "../src/doctor/doctor.ts";
import type { Facts, ServerFacts, StoreFacts } from "../src/doctor/facts.ts";

const GIB = 1024 ** 3;

function server(name: string, more: Partial<ServerFacts> = {}): ServerFacts {
  return {
    name,
    version: "2.15.1",
    store: { syncIntervalMs: 1_000, usedBytes: GIB, limitBytes: 64 * GIB, reservedBytes: 31 * GIB },
    cluster: { size: 3, leader: "nats-1" },
    maxPayloadBytes: 2 * 1024 * 1024,
    tls: false,
    clock: { aheadMs: 3, errorMs: 2 },
    ...more,
  };
}

function store(name: string, more: Partial<NonNullable<StoreFacts["found"]>> = {}): StoreFacts {
  const found = { replicas: 3, drift: [], leader: "nats-1", behind: [], ...more };
  return { name, found, problem: undefined };
}

const THREE = ["nats-1", "nats-2", "nats-3"].map((name) => server(name));
const WELL: Facts = {
  servers: THREE,
  connected: {
    url: "127.0.0.1:4222",
    version: "2.15.1",
    clustered: true,
    encrypted: false,
    maxPayloadBytes: 2 * 1024 * 1024,
  },
  stores: [store("MESH_TASKS"), store("KV_mesh_tasks")],
  services: Object.fromEntries(SERVICES.map((name) => [name, 2])),
  enrolled: 0,
  nodes: [],
  leases: {
    nodes: new Map(),
    leaders: new Map([["coordinator", { instance: "c-1", pid: 1, host: "h", epoch: 4 }]]),
  },
  backlog: {},
  secrets: [{ path: "/k/admin.nk", mode: 0o600 }],
};

/** What is not well, as `level: what it says`. */
function troubles(more: Partial<Facts>): readonly string[] {
  return diagnose({ ...WELL, ...more })
    .filter(({ level }) => level !== "ok")
    .map(({ level, says }) => `${level}: ${says}`)
    .filter((one) => one !== "warn: there are no nodes: tasks wait");
}

test("of a mesh that is well it says what may be lost", () => {
  expect(troubles({})).toEqual([]);
  const says = diagnose(WELL).map((one) => one.says);
  expect(says).toContain("3 of 3 servers answer: nats-1, nats-2, nats-3; 1 may be lost");
  expect(says).toContain("all 2 streams and buckets are there, in 3 copies that agree");
  expect(says).toContain(
    "nats-1 writes to its disk every 1 s: a power failure may cost this copy as much",
  );
});

test.each([
  ["127.0.0.1:4222", true],
  ["localhost:4222", true],
  ["[::1]:4222", true],
  ["127.evil.example:4222", false],
  ["10.0.0.4:4222", false],
])("without TLS %s is fit for tasks: %s", (url, fit) => {
  const connected = { ...WELL.connected, url };
  expect(troubles({ connected })).toEqual(
    fit ? [] : [`warn: the connection to ${url} is not encrypted`],
  );
});

const alone = { cluster: undefined };
const ROWS: readonly (readonly [string, Partial<Facts>, readonly (string | RegExp)[]])[] = [
  [
    "a server that is gone",
    { servers: THREE.slice(1) },
    [/^warn: 2 of 3 .* none of them may be lost now$/],
  ],
  [
    "a lost majority",
    { servers: THREE.slice(2) },
    [/^fail: 1 of 3 .* without a majority the mesh is read-only$/],
  ],
  [
    "an even number of servers",
    { servers: [1, 2, 3, 4].map((n) => server(`s${n}`, { cluster: { size: 4, leader: "s1" } })) },
    ["warn: an even number of servers, 4"],
  ],
  [
    "a cluster without a leader",
    { servers: THREE.map((one) => ({ ...one, cluster: { size: 3, leader: "" } })) },
    ["fail: the cluster has no leader"],
  ],
  [
    "different versions",
    { servers: [server("a", { ...alone, version: "2.14.4" }), server("b", alone)] },
    [/^warn: nats-servers of different versions: 2\.14\.4, 2\.15\.1$/],
  ],
  [
    "an old version",
    { servers: [server("a", { ...alone, version: "2.10.27" })] },
    ["fail: nats-server 2.10.27"],
  ],
  [
    "a small max_payload",
    { servers: [server("a", { ...alone, maxPayloadBytes: 1024 * 1024 })] },
    ["warn: max_payload is 1.0 MiB"],
  ],
  [
    "a lazy disk",
    {
      servers: [
        server("a", {
          ...alone,
          store: { syncIntervalMs: 120_000, usedBytes: 0, limitBytes: GIB, reservedBytes: 0 },
        }),
      ],
    },
    ["warn: a writes to its disk every 120 s: a power failure may cost as much"],
  ],
  [
    "a full store",
    {
      servers: [
        server("a", {
          ...alone,
          store: { syncIntervalMs: 0, usedBytes: 0.96 * GIB, limitBytes: GIB, reservedBytes: 0 },
        }),
      ],
    },
    [/^fail: a has 983\.0 MiB of 1\.0 GiB stored/],
  ],
  [
    "a clock that is wrong",
    { servers: [server("a", { ...alone, clock: { aheadMs: -5_000, errorMs: 20 } })] },
    ["warn: a's clock is 5000 ms behind this machine's, to within 20 ms"],
  ],
  [
    "one copy on a cluster",
    { stores: [store("X", { replicas: 1 })] },
    [/^fail: all 1 streams: in one copy, on a cluster of 3/],
  ],
  [
    "what is wrong with many, once",
    {
      stores: [store("X", { behind: ["nats-2"] }), store("Y", { behind: ["nats-2"] }), store("Z")],
    },
    ["warn: X, Y: the copy on nats-2 is behind or away"],
  ],
  [
    "a stream that differs",
    { stores: [store("X", { drift: ["max_age is 1, expected 2"] })] },
    [/^fail: .*max_age is 1, expected 2$/],
  ],
  [
    "a stream nobody leads",
    { stores: [store("X", { leader: "" })] },
    [/^fail: .*no leader, so no writes$/],
  ],
  [
    "a stream that is missing",
    { stores: [{ name: "X", found: undefined, problem: undefined }] },
    [/^fail: .*not there$/],
  ],
  [
    "a store that does not answer",
    { stores: [{ name: "X", found: undefined, problem: "timeout" }] },
    [/^fail: .*no answer: timeout$/],
  ],
  [
    "a service that is missing, and one that is alone",
    { services: { ...WELL.services, registry: 0, migrator: 1 } },
    ["fail: no registry answers", "warn: one migrator: nobody takes over at once when it dies"],
  ],
  [
    "that each service is alone, in one line",
    { services: Object.fromEntries(SERVICES.map((name) => [name, 1])) },
    [/^warn: one each of registry, .*, authenticator: nobody takes over at once when it dies$/],
  ],
  [
    "that nobody lets nodes in, where nobody needs it",
    { services: { ...WELL.services, authenticator: 0 } },
    [/^warn: no authenticator answers: no node can be let in but by the server's configuration$/],
  ],
  [
    "that enrolled nodes are shut out",
    { services: { ...WELL.services, authenticator: 0 }, enrolled: 3 },
    ["fail: no authenticator answers: 3 enrolled nodes cannot connect again, nor be revoked"],
  ],
  [
    "that nobody leads",
    { leases: { nodes: new Map(), leaders: new Map() } },
    ["fail: no coordinator leads: nothing is placed"],
  ],
  [
    "work nobody offers to do",
    { backlog: { gpu: 7 } },
    ["warn: 7 tasks for gpu, which no node offers"],
  ],
  [
    "a key that others can read",
    { secrets: [{ path: "/k/n1.nk", mode: 0o644 }] },
    ["fail: /k/n1.nk can be read by others (mode 644)"],
  ],
  [
    "the authority's key, and that of signatures, for the group",
    {
      secrets: [
        { path: "/k/issuer.seed", mode: 0o640 },
        { path: "/tls/ca.key", mode: 0o640 },
        { path: "/tls/server.key", mode: 0o640 },
        { path: "/routes.conf", mode: 0o640 },
      ],
    },
    [/^fail: \/k\/issuer\.seed can be read/, /^fail: \/tls\/ca\.key can be read/],
  ],
  [
    "what it could not find out",
    { servers: undefined, nodes: undefined, leases: undefined, backlog: undefined },
    [
      "unknown: this key may not ask the servers about themselves",
      "unknown: sync interval and room: only servers can tell",
      "unknown: the servers' clocks: only they can tell",
      "unknown: who leads: the leases do not answer",
      "unknown: the registry does not answer",
    ],
  ],
];

describe("it tells", () => {
  test.each(ROWS)("%s", (_what, facts, expected) => {
    const found = troubles(facts);
    expect(found).toEqual(
      expected.map((one) => (typeof one === "string" ? one : expect.stringMatching(one))),
    );
  });
});

describe("what an election explains", () => {
  const nobodyLeads = { leases: { nodes: new Map(), leaders: new Map() } };
  const unled: Partial<Facts> = { stores: [store("X", { leader: "" })] };

  /** How often it looked, and what it told, when the first `count` looks find `during`. */
  async function watching(during: Partial<Facts>, count: number) {
    let now = 0;
    let looks = 0;
    const clock = {
      elapsed: () => now,
      sleep: async (ms: number) => {
        now += ms;
      },
    };
    const facts = await settled(async () => {
      looks++;
      return { ...WELL, ...(looks <= count ? during : {}) };
    }, clock);
    return { looks, seconds: now / 1_000, told: troubles(facts) };
  }

  test.each<[string, Partial<Facts>]>([
    ["a stream nobody leads", unled],
    [
      "a store that does not answer",
      { stores: [{ name: "X", found: undefined, problem: "timeout" }] },
    ],
    ["that nobody leads", nobodyLeads],
    ["that the leases do not answer", { leases: undefined }],
    ["that the registry does not answer", { nodes: undefined }],
    [
      "a cluster without a leader",
      { servers: THREE.map((one) => ({ ...one, cluster: { size: 3, leader: "" } })) },
    ],
  ])("%s, is waited for and not told", async (_, during) => {
    expect(await watching(during, 3)).toEqual({ looks: 4, seconds: 1.5, told: [] });
  });

  test("is told when it stays", async () => {
    const { seconds, told } = await watching(unled, Number.POSITIVE_INFINITY);
    expect(seconds).toBe(10);
    expect(told).toEqual([expect.stringMatching(/^fail: .*no leader, so no writes$/)]);
  });

  test.each<[string, Partial<Facts>]>([
    ["a key that others can read", { secrets: [{ path: "/k/n1.nk", mode: 0o644 }] }],
    ["no coordinator that could lead", { ...nobodyLeads, services: {} }],
    ["a lost majority", { ...unled, servers: THREE.slice(2) }],
  ])("is not %s: that is told at once", async (_, facts) => {
    expect(await watching(facts, Number.POSITIVE_INFINITY)).toMatchObject({ looks: 1 });
  });
});
