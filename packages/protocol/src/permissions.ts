/** What one user may do, as plain data: for a configuration, for a JWT, for a test. */
import type { AccountName } from "./accounts.ts";
import type { Grant } from "./grants.ts";
import { isNodeId } from "./names.ts";
import { ROLES, type Role } from "./roles.ts";

/** Subjects that are allowed, less those that are denied. */
export interface SubjectRules {
  /** Never empty: to the server that would mean everything. */
  readonly allow: readonly string[];
  readonly deny: readonly string[];
}

/** What a user may publish, hear and answer. */
export interface Permissions {
  readonly publish: SubjectRules;
  readonly subscribe: SubjectRules;
  /** How often, and for how many milliseconds, each request that is heard may be answered. */
  readonly allowResponses?: { readonly max: number; readonly expiresMs: number };
}

/**
 * The permissions of a user of `role`. `id` is the node's id, or the user's name where a role has
 * several; left out, the role's own name. Throws a RangeError for an id that is no token: it becomes
 * part of subjects.
 */
export function permissionsOf(role: Role, id: string = role): Permissions {
  if (!isNodeId(id)) throw new RangeError(`${JSON.stringify(id)} is no user's name`);
  const { publish, neverPublish, subscribe, allowResponses } = ROLES[role];
  return {
    publish: { allow: subjectsOf(publish(id)), deny: subjectsOf(neverPublish?.(id) ?? []) },
    subscribe: { allow: subjectsOf(subscribe(id)), deny: [] },
    ...(allowResponses === undefined ? {} : { allowResponses }),
  };
}

/** The account that users of `role` are in. */
export function accountOf(role: Role): AccountName {
  return ROLES[role].account;
}

function subjectsOf(grants: readonly Grant[]): readonly string[] {
  return grants.flatMap(({ subjects }) => subjects);
}
