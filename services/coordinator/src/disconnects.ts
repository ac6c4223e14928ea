import { listen } from "@swarm-mesh/bus";
import {
  DisconnectEvent,
  decode,
  disconnectEventSubject,
  isServerGone,
} from "@swarm-mesh/protocol";
import { together } from "@swarm-mesh/runtime";
import type { NatsConnection } from "nats";

/**
 * Hears of connections that closed, until `signal` aborts. Those that a server closed as it was
 * stopped are left out: they are at another one within milliseconds.
 */
export function hearDisconnects(
  nc: NatsConnection,
  signal: AbortSignal,
  handlers: {
    /** A service's, by its name. */
    readonly onService: (service: string) => void;
    /** A node's, by its id. */
    readonly onNode: (nodeId: string) => void;
  },
): Promise<void> {
  const hear = (account: string): Promise<void> =>
    listen(
      nc,
      disconnectEventSubject(account),
      (message) => {
        const event = decode(DisconnectEvent, message.data);
        if (!event.ok || isServerGone(event.value)) return;
        const [role = "", id = ""] = (event.value.client.name ?? "").split("/");
        if (account === "MESH") handlers.onService(role);
        else if (role === "node") handlers.onNode(id);
      },
      { signal },
    );
  return together(signal, [() => hear("MESH"), () => hear("NODES")]);
}
