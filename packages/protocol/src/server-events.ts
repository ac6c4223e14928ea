/** What nats-server says of itself and of its clients, as far as the mesh reads it. */
import { z } from "zod";

/** A connection has closed. The name is what the client called itself: a hint, and perhaps a lie. */
export const DisconnectEvent = z.object({
  client: z.object({ name: z.string().optional() }),
  /** In the server's words: `Client Closed`, `Stale Connection`, `Server Shutdown`, … */
  reason: z.string().optional(),
});
export type DisconnectEvent = z.infer<typeof DisconnectEvent>;

/** Was it the server that went, with all of its clients? They are at another one within milliseconds. */
export function isServerGone(event: DisconnectEvent): boolean {
  return event.reason === "Server Shutdown";
}

/** One replica of a service, as it answers NATS' discovery. */
export const ServicePing = z.looseObject({ name: z.string(), id: z.string() });
export type ServicePing = z.infer<typeof ServicePing>;
