import { defineConfig } from "vitest/config";

const conditions = ["@swarm-mesh/source"];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions: [...conditions, "node"] } },
  test: {
    globalSetup: ["test/find-nats-server.ts"],
    projects: [
      {
        extends: true,
        test: {
          // Fast tests: decisions, parsers and one real nats-server a test.
          name: "unit",
          include: ["{packages,services}/*/test/**/*.test.ts", "test/*.test.ts"],
          isolate: false,
          pool: "threads",
        },
      },
      {
        extends: true,
        test: {
          // Whole meshes in processes of their own, and real kills: one at a time.
          name: "cluster",
          include: ["test/cluster/**/*.test.ts"],
          pool: "forks",
          maxWorkers: 1,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
