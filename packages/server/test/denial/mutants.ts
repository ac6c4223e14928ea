/** Edits of the table of roles that would let somebody do more than is meant. */
import {
  BUCKETS,
  type Permissions,
  permissionsOf,
  ROLE_NAMES,
  type Role,
  STREAM_NAMES,
} from "@swarm-mesh/protocol";
import { subscribing } from "./hearing.ts";
import { isAllowed, widenings } from "./model.ts";
import { type Deed, mayDo, publishing, SELF } from "./resources.ts";

/** All there is to do, by what a permission is about. */
export const DEEDS = { publish: publishing(), subscribe: subscribing() } as const;
export type Direction = keyof typeof DEEDS;
export const DIRECTIONS = Object.keys(DEEDS) as readonly Direction[];

/** One edit. */
export interface Mutant {
  readonly role: Role;
  readonly direction: Direction;
  /** The edit, for a person. */
  readonly what: string;
  readonly permissions: Permissions;
  /** The subjects whose cases of the matrix fail because of it. */
  readonly caughtBy: readonly string[];
}

/** Words of subjects that stand for something of which there are several, or for what is done. */
const NAMES = new Set<string>([
  ...[SELF, ...ROLE_NAMES, ...STREAM_NAMES, ...BUCKETS.map(({ name }) => name)],
  ...["ping", "task", "tasks", "cancel", "outcome", "outcomes", "progress", "list", "find", "get"],
]);

/** Is this word of a subject a name? The second of `mesh.…` is an area: no other is below it. */
export function isName(token: string, index: number, tokens: readonly string[]): boolean {
  return NAMES.has(token) && !(index === 1 && tokens[0] === "mesh");
}

/** The permissions of a role; a node's are those of {@link SELF}. */
export function permissions(role: Role): Permissions {
  return permissionsOf(role, role === "node" ? SELF : role);
}

/** What nobody of `role` may do: the cases of the matrix. */
export function forbidden(role: Role, direction: Direction): readonly Deed[] {
  return DEEDS[direction].filter((deed) => !mayDo(deed, role));
}

/** Each deny line of a role left out, and each allow line made wider. */
export function mutants(role: Role, direction: Direction): readonly Mutant[] {
  const given = permissions(role);
  const rules = given[direction];
  const cases = forbidden(role, direction).map(({ subject }) => subject);
  const mutant = (what: string, changed: Permissions[Direction], caughtBy: string[]): Mutant => ({
    ...{ role, direction, what, caughtBy: [...new Set(caughtBy)] },
    permissions: { ...given, [direction]: changed },
  });
  const withoutDeny = rules.deny.map((line) => {
    const changed = { ...rules, deny: rules.deny.filter((other) => other !== line) };
    return mutant(
      `without deny ${line}`,
      changed,
      cases.filter((subject) => isAllowed(changed, subject)),
    );
  });
  const wider = rules.allow.flatMap((line) =>
    widenings(line, isName)
      .filter((wide) => !rules.allow.includes(wide))
      .map((wide) => {
        const changed = { ...rules, allow: [...rules.allow, wide] };
        const freed = { allow: [wide], deny: rules.deny };
        return mutant(
          `${line} → ${wide}`,
          changed,
          cases.filter((subject) => isAllowed(freed, subject)),
        );
      }),
  );
  return [...withoutDeny, ...wider];
}
