/** The answer when nothing can be read: the server is there, and its store is not. */
import type { Answer } from "./facts.ts";

/** The server that was asked, and what it said. */
export interface StoreFacts {
  readonly url: string;
  readonly version: string;
  /** Its cluster's name; absent for a server of its own. */
  readonly cluster: string | undefined;
  /** Does it say that it has JetStream? */
  readonly jetstream: boolean;
  readonly problem: string;
}

export function storeAway({ url, version, cluster, jetstream, problem }: StoreFacts): Answer {
  const evidence = [
    `${url} (nats-server ${version}${cluster === undefined ? "" : `, cluster ${cluster}`}) is connected`,
    `the store says: ${problem}`,
  ];
  const cause = "store_unavailable";
  if (!jetstream) {
    return { cause, sentence: `Nothing is known: ${url} has no JetStream.`, evidence };
  }
  const why =
    cluster === undefined
      ? "it stands still or is starting"
      : "its servers have no quorum, or are electing a leader";
  return {
    cause,
    sentence: `Nothing moves and nothing can be read: the server's store does not answer, so ${why}.`,
    evidence: [
      ...evidence,
      "submits are refused; what runs goes on until its node's lease runs out, and outcomes are kept there",
    ],
  };
}
