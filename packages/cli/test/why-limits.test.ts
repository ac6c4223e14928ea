import { coordinator } from "@swarm-mesh/coordinator";
import { healthMonitor } from "@swarm-mesh/health-monitor";
import { LIMITS_DEFAULT } from "@swarm-mesh/why";
import { expect, test } from "vitest";

test("what why takes the services to do is what they do unless they are told otherwise", () => {
  const { massLossMin, massLossShare, massLossWindowMs } = healthMonitor.config.parse({});
  const { shunMs, sweepIntervalMs } = coordinator.config.parse({});
  expect(LIMITS_DEFAULT).toMatchObject({ massLossMin, massLossShare, massLossWindowMs });
  expect(LIMITS_DEFAULT.shunMs).toBe(shunMs + sweepIntervalMs);
});
