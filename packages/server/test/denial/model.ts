/** What nats-server does with permissions, as a function: the live matrix shows that it is the same. */
import type { SubjectRules } from "@swarm-mesh/protocol";

/** Is it allowed to publish, or to subscribe, `subject`? */
export function isAllowed({ allow, deny }: SubjectRules, subject: string): boolean {
  return allow.some((rule) => covers(rule, subject)) && !deny.some((rule) => covers(rule, subject));
}

/** Does a rule with wildcards cover a subject, whose own wildcards are taken as words? */
export function covers(rule: string, subject: string): boolean {
  const [wanted, given] = [rule.split("."), subject.split(".")];
  for (const [index, token] of wanted.entries()) {
    if (token === ">") return given.length > index;
    if (given[index] === undefined) return false;
    if (token !== "*" && token !== given[index]) return false;
  }
  return wanted.length === given.length;
}

/**
 * Every wider rule that one edit makes of `rule`: the rest becomes `>`, or a name becomes `*`. (What
 * is no name stands where the server knows no other word.)
 */
export function widenings(
  rule: string,
  isName: (token: string, index: number, tokens: readonly string[]) => boolean,
): readonly string[] {
  const tokens = rule.split(".");
  const wider = tokens.flatMap((token, index) => {
    if (token === ">") return [];
    const before = tokens.slice(0, index);
    const rest = [...before, ">"].join(".");
    return isName(token, index, tokens)
      ? [rest, [...before, "*", ...tokens.slice(index + 1)].join(".")]
      : [rest];
  });
  return [...new Set(wider)];
}
