/** Task records for tests, as short as can be. */
import { isFinal, TaskRecord, type TaskStatus } from "@swarm-mesh/protocol";

const SUBMITTED = "2026-01-01T10:00:00.000Z";

/** A record; what failed did so for a full disk. */
export function record(of: {
  readonly id: string;
  readonly status: TaskStatus;
  readonly attempt?: number;
  readonly progress?: unknown;
  readonly moves?: number;
  readonly tookMs?: number;
}): TaskRecord {
  const { id, status, attempt = 1, progress = null, moves = 0, tookMs = 100 } = of;
  const finishedAt = new Date(Date.parse(SUBMITTED) + tookMs).toISOString();
  const error = { code: "disk_full", message: "no room", retryable: false };
  return TaskRecord.parse({
    ...{ id, status, attempt, progress, capability: "work", lane: "normal", maxAttempts: 3 },
    ...{ node: "n1", agent: "main", incarnation: 1, epoch: 1, result: null, dueAt: null },
    ...{ submittedAt: SUBMITTED, startedAt: "2026-01-01T10:00:00.010Z", trace: null },
    finishedAt: isFinal(status) ? finishedAt : null,
    error: status === "failed" ? error : null,
    tries: status === "failed" ? [{ attempt, node: "n1", at: finishedAt, error }] : [],
    migrations: Array.from({ length: moves }, () => ({
      ...{ from: "n2", to: "n1", at: "2026-01-01T10:00:00.005Z", reason: "node_failed" },
    })),
  });
}
