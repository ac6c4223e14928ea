/** `swarmctl service <name>`: one of the mesh's services as this process's whole work. */
import { runService, type ServiceDefinition } from "@swarm-mesh/process";
import { SERVICES, type ServiceName } from "@swarm-mesh/protocol";
import type { z } from "zod";
import type { Call } from "./call.ts";
import { usageError } from "./exit.ts";
import { stopWithParent, tellParent } from "./parent.ts";

export interface ServiceFlags {
  readonly config?: string;
  readonly stopWithParent?: boolean;
}

/** Runs the service and ends the process with it. */
export async function runNamed(call: Call<ServiceFlags>): Promise<number> {
  const name = serviceNamed(call.args[0] ?? "");
  if (call.flags.stopWithParent === true) stopWithParent();
  const { config } = call.flags;
  switch (name) {
    case "registry":
      return runService(telling((await import("@swarm-mesh/registry")).registry), file(config));
    case "coordinator":
      return runService(
        telling((await import("@swarm-mesh/coordinator")).coordinator),
        file(config),
      );
    case "health-monitor":
      return runService(
        telling((await import("@swarm-mesh/health-monitor")).healthMonitor),
        file(config),
      );
    case "migrator":
      return runService(telling((await import("@swarm-mesh/migrator")).migrator), file(config));
    case "authenticator":
      return runService(
        telling((await import("@swarm-mesh/authenticator")).authenticator),
        file(config),
      );
  }
}

/** The service that is meant. Throws a usage error. */
export function serviceNamed(text: string): ServiceName {
  const name = SERVICES.find((service) => service === text);
  if (name !== undefined) return name;
  throw usageError(
    `${JSON.stringify(text.slice(0, 80))} is no service; there are ${SERVICES.join(", ")}`,
  );
}

function file(config: string | undefined) {
  return { configFile: config };
}

/** The service, telling `swarmctl dev` when it does its work. */
function telling<S extends z.ZodObject>(definition: ServiceDefinition<S>): ServiceDefinition<S> {
  return {
    ...definition,
    run: (config, deps, signal) => {
      const ready = (): void => {
        deps.ready();
        tellParent("ready");
      };
      return definition.run(config, { ...deps, ready }, signal);
    },
  };
}
