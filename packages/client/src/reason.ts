import type { Answer } from "@swarm-mesh/bus";

/** Why there is no value, for people. */
export function reasonOf(answer: Answer<unknown>): string {
  switch (answer.kind) {
    case "no-responders":
      return "nobody answers: are the services running, and may this user ask them?";
    case "timeout":
      return "no answer in time";
    case "refused":
      return `${answer.error.message} (${answer.error.code})`;
    case "malformed":
      return answer.problem;
    case "ok":
      return "answered";
  }
}
