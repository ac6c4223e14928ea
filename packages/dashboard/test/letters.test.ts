import { headers } from "@nats-io/nats-core";
import { expect, test } from "vitest";
import { isSigned, letterOf, submitAgain } from "../src/page/letters.ts";

function letter(of: Readonly<Record<string, string>>) {
  const h = headers();
  for (const [name, value] of Object.entries(of)) h.set(name, value);
  return letterOf({ seq: 7, subject: "mesh.dead.t1", headers: h, time: new Date(0) });
}

test("a signature, which was for the old id, does not go along with the next submit", () => {
  const signed = letter({
    "Mesh-Timeout": "5s",
    "Mesh-Signer": "UABC",
    "Mesh-Expires": "2026-11-21T12:00:00Z",
    "Mesh-Signature": "abc",
  });
  expect(isSigned(signed)).toBe(true);
  expect(submitAgain(signed)).toEqual([["Mesh-Timeout", "5s"]]);
});

test("of a task without a signature all that was said goes along", () => {
  const bare = letter({ "Mesh-Timeout": "5s", "Mesh-Requires": "gpu=a100", "Mesh-Tries": "[]" });
  expect(isSigned(bare)).toBe(false);
  expect(submitAgain(bare)).toEqual([
    ["Mesh-Timeout", "5s"],
    ["Mesh-Requires", "gpu=a100"],
  ]);
});
