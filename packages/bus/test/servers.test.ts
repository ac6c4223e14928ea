import { expect, test } from "vitest";
import { hasLostServer } from "../src/connect.ts";

const A = "10.0.0.1:4222";
const B = "10.0.0.2:4222";
const C = "10.0.0.3:4222";

test.each([
  ["one is gone", [A, B, C], [A, B], true],
  ["one is gone, and its word comes in another order", [A, B, C], [C, A], true],
  ["one was gone and is back", [A, B, C], [A, B, C], true],
  ["one is gone and two have come", [A, B], [B, C, "10.0.0.4:4222"], true],
  ["one has come", [A, B], [A, B, C], false],
  ["the server speaks of itself, and is alone", undefined, undefined, false],
])("%s", (_, before, now, lost) => {
  const said = (urls: string[] | undefined) => ({
    client_id: 7,
    ...(urls === undefined ? {} : { connect_urls: urls }),
  });
  expect(hasLostServer(said(before), said(now))).toBe(lost);
});

test("what another server says is compared with nothing", () => {
  expect(
    hasLostServer({ client_id: 7, connect_urls: [A, B] }, { client_id: 9, connect_urls: [B] }),
  ).toBe(false);
});
