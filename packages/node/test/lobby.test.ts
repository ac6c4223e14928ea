import type { Answer } from "@swarm-mesh/bus";
import type { JoinAnswer } from "@swarm-mesh/protocol";
import { expect, test } from "vitest";
import { judgeLobby } from "../src/lobby.ts";

const refused = (code: string, retryable = false): Answer<JoinAnswer> => ({
  kind: "refused",
  error: { code, message: `it is ${code}`, retryable },
});
const JUST_NOW = 0;
const FOR_LONG = 60_000;

test.each<[string, Answer<JoinAnswer> | undefined, number, object]>([
  ["let in: it tries on", { kind: "ok", value: { node: "n7" } }, JUST_NOW, { kind: "try-on" }],
  [
    "let in as another: it ends",
    { kind: "ok", value: { node: "n8" } },
    JUST_NOW,
    { kind: "end", code: "id_in_use" },
  ],
  [
    "revoked: it ends",
    refused("revoked"),
    JUST_NOW,
    { kind: "end", code: "revoked", message: "it is revoked" },
  ],
  ["an expired token: it ends", refused("token_expired"), JUST_NOW, { kind: "end" }],
  ["nobody knows the key yet: it tries on", refused("unknown_key"), JUST_NOW, { kind: "try-on" }],
  ["nobody knows the key at last: it ends", refused("unknown_key"), FOR_LONG, { kind: "end" }],
  ["the store is away: it tries on", refused("unavailable", true), FOR_LONG, { kind: "try-on" }],
  ["no answer: it tries on", { kind: "timeout" }, FOR_LONG, { kind: "try-on" }],
  ["no lobby: it tries on", undefined, FOR_LONG, { kind: "try-on" }],
])("a refused node that is told: %s", (_, answer, sinceMs, verdict) => {
  expect(judgeLobby(answer, "n7", sinceMs)).toMatchObject(verdict);
});
