import { ProcessConfig } from "@swarm-mesh/process";
import { z } from "zod";

/** What the authenticator is told. */
export const Config = ProcessConfig.extend({
  /**
   * File with the account's seed by which it signs, mode 600; a name is that of a file beside its own
   * key. Default `issuer.seed`: there `swarmctl keys init` puts it.
   */
  issuerSeed: z.string().min(1).default("issuer.seed"),
  /**
   * How often connections are compared with what was revoked. Default 5 s: a revocation cuts at
   * once, and so does the server's word of a new connection; this finds what both missed.
   */
  sweepMs: z.coerce.number().int().min(100).max(3_600_000).default(5_000),
  /**
   * Connections that are judged at once; the server is not answered about more, and their clients
   * try again. Default 1 000: at 2 ms each nobody waits for longer than a client's patience, 2 s.
   */
  judgingMax: z.coerce.number().int().min(1).max(100_000).default(1_000),
});
export type Config = z.infer<typeof Config>;
