import type { Run } from "../run.ts";
import type { Finding, RunRule } from "../violation.ts";

/**
 * "A command of an older epoch has no effect", over all tasks: once a record of a newer term is stored,
 * none of an older term is; and the lease itself never goes back to an older term.
 */
export const oneLeaderActs: RunRule = {
  name: "one-leader-acts",
  invariant: "two leaders never act at once",
  judgeRun: (run) => [...records(run), ...leases(run)],
};

function records(run: Run): Finding[] {
  const terms = [...run.terms.values()].sort((a, b) => a.epoch - b.epoch);
  return terms.flatMap((term, index) => {
    const next = terms[index + 1];
    if (term.last === undefined || next?.first === undefined) return [];
    if (term.last.revision < next.first.revision) return [];
    const problem = `term ${term.epoch} wrote ${term.last.task} (revision ${term.last.revision}) after term ${next.epoch} had written ${next.first.task} (revision ${next.first.revision})`;
    return [{ problem, places: [next.first.place, term.last.place] }];
  });
}

function leases(run: Run): Finding[] {
  let newest: (typeof run.leaders)[number] | undefined;
  const findings: Finding[] = [];
  for (const change of run.leaders) {
    if (change.holder === null) continue;
    if (newest?.holder != null && change.holder.epoch < newest.holder.epoch) {
      const problem = `the lease went from term ${newest.holder.epoch} back to ${change.holder.epoch}`;
      findings.push({ problem, places: [newest.place, change.place] });
      continue;
    }
    if (
      newest?.holder?.epoch === change.holder.epoch &&
      newest.holder.instance !== change.holder.instance
    ) {
      const problem = `term ${change.holder.epoch} was ${newest.holder.instance}'s and then ${change.holder.instance}'s`;
      findings.push({ problem, places: [newest.place, change.place] });
    }
    newest = change;
  }
  return findings;
}
