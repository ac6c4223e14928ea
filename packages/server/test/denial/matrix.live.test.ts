/**
 * The matrix: as each role, everything that it may not do, tried on a real server. The server must
 * refuse each. The cases are made of the roles that there are and of what resources.ts says there is.
 */
import { ROLE_NAMES } from "@swarm-mesh/protocol";
import { beforeAll, describe, expect, test } from "vitest";
import { addStranger, startMesh, type TestMesh } from "../mesh.ts";
import { refusedOf } from "./attempts.ts";
import { DIRECTIONS, forbidden } from "./mutants.ts";
import { OTHER, SELF } from "./resources.ts";

let mesh: TestMesh;

beforeAll(async () => {
  mesh = await startMesh([SELF, OTHER], addStranger);
});

describe.each(ROLE_NAMES)("the server refuses %s", (role) => {
  const user = role === "node" ? SELF : role;

  // An admin may hear everything.
  const directions = DIRECTIONS.filter((direction) => forbidden(role, direction).length > 0);

  describe.each(directions)("to %s", (direction) => {
    const deeds = forbidden(role, direction);
    const kinds = [...new Set(deeds.map(({ what }) => what))];
    let refused: ReadonlySet<string>;

    beforeAll(async () => {
      const subjects = deeds.map(({ subject }) => subject);
      refused = await refusedOf(await mesh.as(user), direction, subjects);
    });

    test.each(kinds)("%s", (kind) => {
      const tried = deeds.filter(({ what }) => what === kind).map(({ subject }) => subject);
      expect(tried.filter((subject) => !refused.has(subject))).toEqual([]);
    });
  });
});

test("there are at least a thousand cases", () => {
  const cases = ROLE_NAMES.flatMap((role) =>
    DIRECTIONS.flatMap((direction) => forbidden(role, direction)),
  );
  expect(cases.length).toBeGreaterThan(1_000);
});
