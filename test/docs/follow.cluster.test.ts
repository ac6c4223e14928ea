/** Every page that a reader types from, followed from its first block to its last. */
import { test } from "vitest";
import { pages } from "./markdown.ts";
import { follow, followAll } from "./stranger.ts";

// Both mostly wait, each for a mesh of its own.
test.concurrent("the tutorial does what it says", async () => {
  await follow("docs/tutorial.md");
});

test.concurrent("the how-to pages do what they say", async ({ expect }) => {
  const howTo = pages().filter((page) => page.startsWith("docs/how-to/"));
  expect(howTo.length).toBeGreaterThan(5);
  await followAll(howTo);
});
