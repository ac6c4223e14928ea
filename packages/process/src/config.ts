/**
 * Configuration: file, then environment, then defaults, checked against one strict schema.
 *
 * `leaseTtlMs` is `MESH_LEASE_TTL_MS` in the environment and `leaseTtlMs` in a YAML or JSON file.
 */
import { readFileSync } from "node:fs";
import { describeIssues } from "@swarm-mesh/protocol";
import { closest, distance } from "fastest-levenshtein";
import { parse } from "yaml";
import { z } from "zod";

/** A configuration nobody can run with; the message says which key, and which was meant. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly code = "bad_config";
}

/** What every process of the mesh is told, whatever it does. */
export const ProcessConfig = z.strictObject({
  /** Where NATS is; several servers separated by commas. `NATS_URL` in the environment. */
  natsUrl: z.string().min(1).default("nats://127.0.0.1:4222"),
  /** File with the nkey seed, mode 600. `NATS_NKEY` in the environment. None: anonymous. */
  natsNkey: z.string().optional(),
  /** File with the authorities whose signature under the server's certificate counts. `NATS_CA`. */
  natsCa: z.string().optional(),
  /** A certificate of our own, for a server that asks for one; the mesh's does not. `NATS_CERT`. */
  natsCert: z.string().optional(),
  /** The key of `natsCert`. `NATS_KEY`. */
  natsKey: z.string().optional(),
  /** Connect to another machine without TLS, when its server has none. */
  allowPlaintext: z.stringbool().or(z.boolean()).default(false),
  /** `silent` for tests. */
  logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
  /**
   * Copies of every stream and bucket. Left out: those there are, and for what is missing 1 on one
   * server and 3 on a cluster. Given: whatever has another number is refused.
   */
  replicas: z.coerce.number().int().min(1).max(5).optional(),
  /** Port for `/healthz`, `/readyz` and `/metrics`; 0: none. */
  httpPort: z.coerce.number().int().min(0).max(65_535).default(0),
  /** Address that {@link httpPort} is opened on. Anything but 127.0.0.1 is for a network of its own. */
  httpHost: z.string().min(1).default("127.0.0.1"),
  /** Name of this replica in logs and leases. Default: service, host and pid. */
  instance: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/)
    .optional(),
});
export type ProcessConfig = z.infer<typeof ProcessConfig>;

type Environment = Readonly<Record<string, string | undefined>>;

/** Variables that NATS users already have, and the keys they set. */
const NATS_VARIABLES: Readonly<Record<string, string>> = {
  NATS_URL: "natsUrl",
  NATS_NKEY: "natsNkey",
  NATS_CA: "natsCa",
  NATS_CERT: "natsCert",
  NATS_KEY: "natsKey",
};

/** Unknown `MESH_*` variables at most this far from a known one are taken for typing errors. */
const TYPO_DISTANCE_MAX = 2;

export interface ConfigSource {
  readonly env: Environment;
  /** A YAML or JSON file. */
  readonly file?: string | undefined;
}

/** Reads a service's configuration. Throws {@link ConfigError}. */
export function loadConfig<S extends z.ZodObject>(schema: S, source: ConfigSource): z.infer<S> {
  const keys = Object.keys(schema.shape);
  const values = { ...fromFile(source.file, keys), ...fromEnvironment(source.env, keys) };
  const parsed = schema.safeParse(values);
  if (parsed.success) return parsed.data;
  throw new ConfigError(describeIssues(parsed.error));
}

/** `leaseTtlMs` → `MESH_LEASE_TTL_MS`. */
export function variableOf(key: string): string {
  return `MESH_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

function fromFile(file: string | undefined, keys: readonly string[]): Record<string, unknown> {
  if (file === undefined) return {};
  let content: unknown;
  try {
    content = parse(readFileSync(file, "utf8"), { maxAliasCount: 10, uniqueKeys: true }) ?? {};
  } catch (error) {
    throw new ConfigError(`${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
  const checked = z.record(z.string(), z.unknown()).safeParse(content);
  if (!checked.success) throw new ConfigError(`${file}: expected keys and values at the top`);
  for (const key of Object.keys(checked.data)) {
    if (!keys.includes(key)) {
      throw new ConfigError(
        `${file}: unknown key "${key}", did you mean "${closest(key, [...keys])}"?`,
      );
    }
  }
  return checked.data;
}

function fromEnvironment(env: Environment, keys: readonly string[]): Record<string, unknown> {
  const known = new Map(keys.map((key) => [variableOf(key), key]));
  const values: Record<string, unknown> = {};
  for (const [name, key] of Object.entries(NATS_VARIABLES)) {
    const value = env[name];
    if (value !== undefined && value !== "" && keys.includes(key)) values[key] = value;
  }
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith("MESH_") || value === undefined || value === "") continue;
    const key = known.get(name);
    if (key !== undefined) {
      values[key] = value;
      continue;
    }
    const meant = closest(name, [...known.keys()]);
    if (distance(name, meant) <= TYPO_DISTANCE_MAX) {
      throw new ConfigError(`unknown variable ${name}, did you mean ${meant}?`);
    }
  }
  return values;
}
