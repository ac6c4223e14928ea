import {
  RefusedRequestError,
  SubmitError,
  TaskFailedError,
  WaitTimeoutError,
} from "@swarm-mesh/client";
import { JoinRefusedError } from "@swarm-mesh/node";
import { wireError } from "@swarm-mesh/protocol";
import { ServerError } from "@swarm-mesh/server";
import { expect, test } from "vitest";
import { CliError, Exit, endingOf, usageError } from "../src/exit.ts";

function named(name: string, fields: object = {}): Error {
  return Object.assign(new Error("as the server said"), { name, ...fields });
}

test.each<[string, unknown, number, string]>([
  ["an error of our own", new CliError(Exit.conflict, "conflict", "taken"), 4, "conflict"],
  ["a bad flag", usageError("--slots"), 2, "usage"],
  ["a seed that others may read", new ServerError("bad-key", "chmod"), 2, "bad-key"],
  ["a bad capability", new SubmitError("bad_capability", "no"), 2, "bad_capability"],
  ["a large body", new SubmitError("payload_too_large", "no"), 2, "payload_too_large"],
  ["an unknown task", new RefusedRequestError(wireError("not_found", "no")), 3, "not_found"],
  ["an id in use", new RefusedRequestError(wireError("id_in_use", "no")), 4, "id_in_use"],
  ["no answer", new SubmitError("unavailable", "no"), 5, "unavailable"],
  ["a wait that was too short", new WaitTimeoutError("t", 1, undefined), 5, "timeout"],
  ["a forbidden subject", new SubmitError("denied", "no"), 6, "denied"],
  ["a refused key", named("AuthorizationError"), 6, "error"],
  [
    "a forbidden request",
    named("RequestError", { cause: named("PermissionViolationError") }),
    6,
    "error",
  ],
  ["a client's time-out", named("TimeoutError"), 5, "error"],
  ["a missing stream", named("JetStreamApiError", { code: 10059 }), 3, "error"],
  ["another revision", named("JetStreamApiError", { code: 10071 }), 4, "error"],
  ["another API error", named("JetStreamApiError", { code: 10052 }), 1, "error"],
  ["a bug", new TypeError("undefined is not a function"), 1, "error"],
  ["no error at all", "text", 1, "error"],
])("%s has its status", (_what, error, status, code) => {
  expect(endingOf(error)).toMatchObject({ status, code });
});

test("says what to do about a key that may not", () => {
  expect(endingOf(new SubmitError("denied", "no")).message).toBe(
    "no; use another key: --nkey FILE, or --context NAME",
  );
});

test.each(["token_unknown", "token_expired", "token_used", "unknown_key", "revoked"])(
  "says to a node that is refused with %s how it is let in",
  (code) => {
    const { message } = endingOf(new JoinRefusedError(code, "no"));
    expect(message).toMatch(/^no; .*`swarmctl node token`/);
    expect(message).not.toContain("--nkey");
  },
);

test("a failed task is an error like any other", () => {
  const record = { id: "t1", status: "failed", error: null } as TaskFailedError["record"];
  expect(endingOf(new TaskFailedError(record))).toMatchObject({ status: 1, code: "task_failed" });
});
