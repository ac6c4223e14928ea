/** Every page that a reader types from, followed from its first block to its last. */
import { test } from "vitest";
import { pages } from "./markdown.ts";
import { follow } from "./stranger.ts";

/** Pages whose blocks are all run, in order; a new one below these folders is among them. */
const followed = pages().filter((page) => /^docs\/(tutorial\.md|how-to\/)/.test(page));

test.each(followed)("%s does what it says", async (page) => {
  await follow(page);
});
