/** Every page that a reader types from, followed from its first block to its last. */
import { test } from "vitest";
import { pages } from "./markdown.ts";
import { follow } from "./stranger.ts";

const asPrinted = process.env["MESH_DOCS_AS_PRINTED"] === "1";
// Both mostly wait, each for a mesh of its own; as printed they have the same port.
const each = asPrinted ? test : test.concurrent;
/** `npm ci` in two clones, and what a slow line makes of it. */
const TIMEOUT_MS = asPrinted ? 1_800_000 : 240_000;

each(
  "the tutorial does what it says",
  async ({ onTestFinished }) => {
    await follow(["docs/tutorial.md"], onTestFinished);
  },
  TIMEOUT_MS,
);

each(
  "the how-to pages do what they say",
  async ({ expect, onTestFinished }) => {
    const howTo = pages().filter((page) => page.startsWith("docs/how-to/"));
    expect(howTo.length).toBeGreaterThan(5);
    await follow(howTo, onTestFinished);
  },
  TIMEOUT_MS,
);
