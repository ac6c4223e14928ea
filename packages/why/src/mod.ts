export { discover } from "./discovery.ts";
export {
  type Answer,
  type EventFact,
  isLiving,
  KINDS,
  type Kind,
  type LaneFact,
  type LeaderFact,
  type LetterFact,
  type MeshFacts,
  type NodeFact,
  type QueuedFact,
  type SearchFact,
} from "./facts.ts";
export { eventFact, letterFact, queuedFact, type StoredMessage, taskIdOf } from "./stored.ts";
export { LIMITS_DEFAULT, laneOf, refusalsIn } from "./surroundings.ts";
export { cell, span } from "./text.ts";
export { whyCapability } from "./why-capability.ts";
export { whyNode } from "./why-node.ts";
export { storeAway } from "./why-store.ts";
export { whyTask } from "./why-task.ts";
