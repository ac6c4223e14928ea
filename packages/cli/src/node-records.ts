/** Nodes' records, from the store itself: so they are to be had when no registry runs. */
import { check, NODES_BUCKET, NodeRecord } from "@swarm-mesh/protocol";
import { readEntries } from "./entries.ts";
import type { Session } from "./session.ts";

/** Every node's record, in the order of their ids. Needs a key that may read the bucket. */
export async function readNodes(session: Session): Promise<readonly NodeRecord[]> {
  const records = (await readEntries(session, NODES_BUCKET)).flatMap(([, value]) => {
    const record = check(NodeRecord, value);
    return record.ok ? [record.value] : [];
  });
  return records.sort((left, right) => compareIds(left.id, right.id));
}

/** Orders ids as people count: n2 before n10. */
export function compareIds(left: string, right: string): number {
  return left.localeCompare(right, "en", { numeric: true });
}
