import { expect, test } from "vitest";
import { debianMirror } from "../src/fetch-apt.ts";

const DEB822 = `# The mirror of the house
Types: deb deb-src
# http://snapshot.example/archive/debian/20250520T000000Z
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
`;

test.each([
  ["of deb822 files", "debian.sources", DEB822, "http://mirror.example/debian"],
  [
    "with a slash",
    "sources.list",
    "deb https://a.example/pub/debian/ sid main",
    "https://a.example/pub/debian/",
  ],
  [
    "after options",
    "a.list",
    "deb [arch=amd64 signed-by=/x.gpg] http://a.example/debian bookworm main",
    "http://a.example/debian",
  ],
  [
    "in a later stanza",
    "b.sources",
    "Types: deb\nURIs: https://other.example/node\n\nTypes: deb\nURIs:\n https://x.example/apt\n https://a.example/debian\n",
    "https://a.example/debian",
  ],
  [
    "in another letter case",
    "c.sources",
    "types: deb\nuris: http://a.example/debian\n",
    "http://a.example/debian",
  ],
])("finds the mirror %s", (_, name, text, mirror) => {
  expect(debianMirror([{ name, text }])).toBe(mirror);
});

test.each([
  ["a comment", "sources.list", "# deb http://a.example/debian bookworm main"],
  ["a source entry", "sources.list", "deb-src http://a.example/debian bookworm main"],
  ["the security archive", "sources.list", "deb http://a.example/debian-security bookworm main"],
  ["a file apt does not read", "debian.sources.disabled", DEB822],
  ["a backup", "debian.list.save", "deb http://a.example/debian bookworm main"],
  ["a disabled stanza", "a.sources", "Enabled: no\nTypes: deb\nURIs: http://a.example/debian\n"],
  ["a stanza of sources", "a.sources", "Types: deb-src\nURIs: http://a.example/debian\n"],
  ["a local directory", "sources.list", "deb file:/srv/debian bookworm main"],
  ["another distribution", "sources.list", "deb http://a.example/ubuntu noble main"],
])("does not take %s for one", (_, name, text) => {
  expect(debianMirror([{ name, text }])).toBeUndefined();
});
