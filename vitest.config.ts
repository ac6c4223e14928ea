import { defineConfig } from "vitest/config";

const conditions = ["@swarm-mesh/source"];

/** Whole meshes whose figures are judged, or that need both cores. */
const ALONE = [
  "test/cluster/{backup,dashboard,faults,identity,million,three-servers}.test.ts",
  "test/cluster/*.long.test.ts",
  "test/faults/test/*.test.ts",
  "test/mutants/*.cluster.test.ts",
];

const WHOLE_MESHES = {
  pool: "forks",
  testTimeout: 180_000,
  hookTimeout: 120_000,
  retry: 1,
} as const;

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions: [...conditions, "node"] } },
  test: {
    globalSetup: ["test/find-nats-server.ts"],
    coverage: {
      include: ["packages/*/src/**/*.ts", "services/*/src/**/*.ts"],
      // Ten lines that start a process, and what only tests use.
      exclude: ["services/*/src/main.ts", "packages/testkit/**"],
      reporter: ["text", "json-summary"],
      thresholds: { lines: 80, perFile: false },
    },
    projects: [
      {
        extends: true,
        test: {
          // Decisions, parsers and the rules of the house: no server, no process.
          name: "unit",
          include: [
            "{packages,services}/*/test/**/*.test.ts",
            "bench/test/*.test.ts",
            "test/*.test.ts",
            "test/{docs,mutants,simulation}/*.test.ts",
            "test/faults/test/*.unit.test.ts",
          ],
          exclude: ["**/*.live.test.ts", "**/*.cluster.test.ts"],
          isolate: false,
          pool: "threads",
          // Some try thousands of inputs, or read every page: seconds where others use the machine.
          testTimeout: 30_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          // One part of the mesh against a real nats-server of the test's own. They mostly wait.
          name: "live",
          include: ["{packages,services}/*/test/**/*.live.test.ts"],
          pool: "threads",
          maxWorkers: 4,
          testTimeout: 20_000,
          // A server and hundreds of users are made in some hooks, beside three other files.
          hookTimeout: 60_000,
          // Deadlines of milliseconds on a machine that others use: a second look tells a busy
          // machine from a fault. Vitest says which test needed it.
          retry: 2,
          sequence: { groupOrder: 2 },
        },
      },
      {
        extends: true,
        test: {
          // Whole meshes in processes of their own, and real kills. They mostly wait: two at a time.
          name: "mesh",
          include: ["test/cluster/**/*.test.ts", "test/docs/*.cluster.test.ts"],
          exclude: ALONE,
          ...WHOLE_MESHES,
          maxWorkers: 2,
          sequence: { groupOrder: 3 },
        },
      },
      {
        extends: true,
        test: {
          name: "cluster",
          include: ALONE,
          // Minutes long: those are for a change of what servers do to each other.
          exclude: [
            "**/*.unit.test.ts",
            ...(process.env["MESH_CLUSTER"] === "1" ? [] : ["**/*.long.test.ts"]),
          ],
          ...WHOLE_MESHES,
          maxWorkers: 1,
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
});
