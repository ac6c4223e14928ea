import { decode, SERVICES, ServicePing } from "@swarm-mesh/protocol";

/**
 * Kinds of services that answer NATS' discovery. `ask` sends the request and gives the answers as they come; it
 * is done early when all of the mesh's have answered. Rejects as `ask` does.
 */
export async function discover(
  ask: () => Promise<AsyncIterable<{ readonly data: Uint8Array }>>,
): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  try {
    for await (const { data } of await ask()) {
      const service = decode(ServicePing, data);
      if (service.ok) found.add(service.value.name);
      if (SERVICES.every((each) => found.has(each))) break;
    }
  } catch (error) {
    // Then no service runs at all, and that is an answer. The name is that of the library's NoRespondersError.
    if (!(error instanceof Error && error.name === "NoResponders")) throw error;
  }
  return found;
}
