import { createHash } from "node:crypto";
import {
  Header,
  isBadHeader,
  parseSignature,
  parseSubmitHeaders,
  type SignedTask,
  signatureHeaders,
  signedText,
} from "@swarm-mesh/protocol";
import fc from "fast-check";
import { expect, test } from "vitest";

const SIGNER = "UDI3HGGPSDK4LSOZCEJHUNO7EYWRJEKC6ZTJ76MXFBSSJK6HPLWEACFN";
const SIGNATURE =
  "4v91y8p_L5q7Z4-U5GcR6yu326XKNPOZK596P9c_NtpogAEAq77gOzBqJOxTDChyuxdCufRAxr9E411YgP23Cw";
const EXPIRES = "2026-11-22T12:00:00Z";
const GOOD = { signer: SIGNER, expires: EXPIRES, signature: SIGNATURE };

test("the text that is signed is what docs/protocol.md shows", () => {
  const text = signedText({
    id: "release-42",
    capability: "deploy",
    payloadSha256: createHash("sha256").update('{"version":"1.2.3"}').digest("hex"),
    timeoutMs: 300_000,
    requires: "zone=eu",
    expires: EXPIRES,
    signer: SIGNER,
  });
  expect(text).toBe(`swarm-mesh task
version 1
id release-42
capability deploy
payload-sha256 6752cea788aba4230b054a6bef39be6d6bc8f806f28763eff8ced8b28b917fa2
timeout-ms 300000
requires zone=eu
expires 2026-11-22T12:00:00Z
signer ${SIGNER}
`);
});

test("two tasks that differ have texts that differ", () => {
  const line = fc.string().map((text) => text.replaceAll("\n", ""));
  const task: fc.Arbitrary<SignedTask> = fc.record({
    id: line,
    capability: line,
    payloadSha256: line,
    timeoutMs: fc.nat(),
    requires: line,
    expires: line,
    signer: line,
  });
  fc.assert(
    fc.property(task, task, (a, b) => {
      const same = JSON.stringify(a) === JSON.stringify(b);
      expect(signedText(a) === signedText(b)).toBe(same);
    }),
  );
});

test("a signature has three headers, and goes with the submit's", () => {
  const headers = Object.fromEntries(signatureHeaders(GOOD));
  expect(read(headers)).toEqual(GOOD);
  expect(parseSubmitHeaders(source(headers))).toMatchObject({ signature: GOOD });
  expect(read({})).toBeUndefined();
});

test.for([
  [Header.signer, ""],
  [Header.signer, "UA"],
  [Header.signer, `A${SIGNER.slice(1)}`],
  [Header.expires, ""],
  [Header.expires, "tomorrow"],
  [Header.expires, "2026-11-22T12:00:00+01:00"],
  [Header.signature, ""],
  [Header.signature, `${SIGNATURE}=`],
  [Header.signature, `${SIGNATURE.slice(0, -1)}x`],
] as const)("%s %j is told", ([header, value]) => {
  const headers = { ...Object.fromEntries(signatureHeaders(GOOD)), [header]: value };
  expect(read(headers)).toMatchObject({ header });
  const options = parseSubmitHeaders(source(headers));
  expect(isBadHeader(options) && options.header).toBe(header);
});

function source(headers: Readonly<Record<string, string>>) {
  return { get: (name: string) => headers[name] ?? "" };
}

function read(headers: Readonly<Record<string, string>>) {
  return parseSignature(source(headers));
}
