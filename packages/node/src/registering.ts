/** What a node says of itself when it joins, and whom it trusts, as its options have it. */
import { availableParallelism, hostname, totalmem } from "node:os";
import { capabilitiesOf, check, Registration } from "@swarm-mesh/protocol";
import { type Log, systemClock } from "@swarm-mesh/runtime";
import { type Agents, SetupError } from "./agents.ts";
import type { MeshNodeOptions } from "./node-options.ts";
import { Trust } from "./trust.ts";

/** The body of the registration. Throws {@link SetupError} when it would be refused. */
export function registrationOf(options: MeshNodeOptions, agents: Agents): Registration {
  const { labels, role, version, costPerHour, host, port } = options;
  const registration = check(Registration, {
    agents: agents.registered(),
    host: host ?? hostname(),
    port,
    role,
    labels,
    version,
    costPerHour,
    batches: true,
    cpu: availableParallelism(),
    memoryBytes: totalmem(),
  });
  if (registration.ok) return registration.value;
  throw new SetupError(`the node cannot be registered: ${registration.problem}`);
}

/** Reads whom the node trusts; `undefined` when it was not told. Throws {@link SetupError}. */
export function openTrust(
  { trust, clock = systemClock }: MeshNodeOptions,
  { agents, labels }: Registration,
  log: Log,
): Trust | undefined {
  if (trust === undefined) return undefined;
  return new Trust(trust, { clock, log, labels, capabilities: capabilitiesOf(agents) });
}
