/**
 * That the matrix would notice: the table of roles grants exactly what resources.ts means, and each
 * edit that lets somebody do more is caught by a case of the matrix.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ACCOUNT_NAMES, importsOf, ROLE_NAMES } from "@swarm-mesh/protocol";
import { describe, expect, test } from "vitest";
import { covers, isAllowed, widenings } from "./model.ts";
import { DEEDS, DIRECTIONS, forbidden, isName, mutants, permissions } from "./mutants.ts";
import { mayDo, mayReach, OTHER, publishing } from "./resources.ts";

describe.each(ROLE_NAMES)("%s", (role) => {
  test.each(DIRECTIONS)("may %s exactly what it is meant to", (direction) => {
    const rules = permissions(role)[direction];
    const allowed = DEEDS[direction].filter(({ subject }) => isAllowed(rules, subject));
    const meant = DEEDS[direction].filter((deed) => mayDo(deed, role));

    expect(allowed.map(({ subject }) => subject)).toEqual(meant.map(({ subject }) => subject));
  });

  test.each(DIRECTIONS)(
    "is caught by a case when any line of what it may %s is wider",
    (direction) => {
      const uncaught = mutants(role, direction).filter(({ caughtBy }) => caughtBy.length === 0);

      expect(uncaught.map(({ what }) => what)).toEqual([]);
    },
  );

  test.each(DIRECTIONS)("is caught by a case when it may %s one thing more", (direction) => {
    const rules = permissions(role)[direction];
    const granted = forbidden(role, direction).filter(({ subject }) =>
      isAllowed({ allow: [...rules.allow, subject], deny: rules.deny }, subject),
    );
    const denied = forbidden(role, direction).filter(({ subject }) =>
      rules.deny.some((line) => isAllowed({ allow: [line], deny: [] }, subject)),
    );

    expect(granted.length + denied.length).toBe(forbidden(role, direction).length);
  });
});

describe.each(ACCOUNT_NAMES.filter((name) => name !== "MESH"))("account %s", (account) => {
  const services = importsOf(account).filter(({ kind }) => kind === "service");

  test("reaches exactly what it is meant to", () => {
    const reached = DEEDS.publish.filter(({ subject }) =>
      services.some((each) => covers(each.subject, subject)),
    );
    const meant = DEEDS.publish.filter((deed) => mayReach(deed, account));

    expect(reached.map(({ subject }) => subject)).toEqual(meant.map(({ subject }) => subject));
  });

  test("is caught when it is shown more", () => {
    const beyond = DEEDS.publish.filter((deed) => !mayReach(deed, account));
    const uncaught = services
      .flatMap(({ subject }) => widenings(subject, isName))
      .filter((wide) => !beyond.some(({ subject }) => covers(wide, subject)));

    expect(uncaught).toEqual([]);
  });
});

test("every subject of the protocol is in the matrix", () => {
  const source = readFileSync(
    join(import.meta.dirname, "../../../protocol/src/subjects.ts"),
    "utf8",
  );
  const forms = [...source.matchAll(/^\/\/ ((?:mesh|\$KV|\$SYS)\.\S+)/gm)].map(
    ([, form = ""]) => form,
  );
  const published = publishing().map(({ subject }) => subject.split("."));
  const missing = forms
    .flatMap((form) =>
      form.split("|").map((verb, at) => (at === 0 ? verb : form.replace(/\w+\|.*$/, verb))),
    )
    .filter((form) => {
      const words = form.split(".");
      return !published.some(
        (subject) =>
          (words.at(-1) === ">"
            ? subject.length >= words.length
            : subject.length === words.length) &&
          words.every((word, index) => /^[<>]/.test(word) || word === subject[index]),
      );
    });
  expect(forms.length).toBeGreaterThan(25);
  expect(missing).toEqual([]);
  expect(published.some((subject) => subject.includes(OTHER))).toBe(true);
});
