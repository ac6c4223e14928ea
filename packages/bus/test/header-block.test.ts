import { headerBlock } from "@swarm-mesh/bus";
import { headers } from "nats";
import { expect, test } from "vitest";

test("is byte for byte what the library writes", () => {
  const theirs = headers();
  theirs.set("Nats-Msg-Id", "t1");
  theirs.set("Mesh-Epoch", "7");
  const ours = headerBlock([
    ["Nats-Msg-Id", "t1"],
    ["Mesh-Epoch", "7"],
  ]) as unknown as { encode(): Uint8Array };
  const written = (theirs as unknown as { encode(): Uint8Array }).encode();
  expect(new Uint8Array(ours.encode())).toEqual(written);
});

test.each(["a\nb", "a\rb", "a\r\nMesh-Epoch: 9"])("refuses a value of two lines: %j", (value) => {
  expect(() => headerBlock([["Mesh-Prefer", value]])).toThrow("one line");
});
