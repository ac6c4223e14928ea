/** The protocol as an AsyncAPI document, made of the subjects' builders and the bodies' schemas. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as protocol from "@swarm-mesh/protocol";
import { stringify } from "yaml";
import { z } from "zod";
import { ROOT } from "../markdown.ts";
import { docOf, fieldDocsOf } from "./docstrings.ts";
import { EXCHANGES, type Exchange, SMALL_ANSWERS } from "./exchanges.ts";

const DESCRIPTION =
  "Tasks of agent swarms, spread over many machines, over NATS. Told from the mesh's side: it receives " +
  "what clients and nodes send, and sends what they hear. A request that is not carried out is answered " +
  "with a `Refusal`. Order, deadlines and what must not be done twice are in docs/protocol.md.";

const PARAMETERS: Readonly<Record<string, string>> = {
  capability: "The kind of work, `[A-Za-z0-9_-]{1,64}`",
  instance: "A replica's name",
  kind: "`joined`, `degraded`, `recovered`, `failed`, `leaving` or `left`",
  key: "The public key that asks, as it has proved: `U…`",
  lane: "`high`, `normal` or `low`",
  node: "A node's id, `[A-Za-z0-9_-]{1,64}`",
  service: "`coordinator`, the one service that has a leader",
  task: "A task's id, `[A-Za-z0-9_-]{1,64}`",
};

/** The document, as an object. */
export function asyncapi(): object {
  const bodies = [...new Set(EXCHANGES.flatMap(({ body, answer }) => [body, answer ?? body]))];
  return {
    asyncapi: "3.0.0",
    info: {
      title: "Swarm Mesh",
      version: protocol.VERSION,
      description: DESCRIPTION,
      license: { name: "Apache-2.0", url: "https://www.apache.org/licenses/LICENSE-2.0" },
    },
    defaultContentType: "application/json",
    servers: {
      local: {
        host: "127.0.0.1:4222",
        protocol: "nats",
        description: "As `swarmctl dev` starts it. Every user has an nkey.",
        security: [{ $ref: "#/components/securitySchemes/nkey" }],
      },
    },
    channels: Object.fromEntries(EXCHANGES.flatMap(channelsOf)),
    operations: Object.fromEntries(EXCHANGES.map(operationOf)),
    components: {
      securitySchemes: {
        nkey: { type: "asymmetricEncryption", description: "The user's nkey signs the nonce" },
      },
      messages: Object.fromEntries([...bodies, "Refusal"].sort().map(messageOf)),
      schemas: { ...schemas(), ...SMALL_ANSWERS },
    },
  };
}

/** The document as it is written to docs/reference/asyncapi.yaml. */
export function asyncapiYaml(): string {
  const head = "# Made by `npm run docs` from packages/protocol; not edited by hand.\n";
  return head + stringify(asyncapi(), { lineWidth: 110, aliasDuplicateObjects: false });
}

function channelsOf(exchange: Exchange): readonly (readonly [string, object])[] {
  const { id, address, summary, answer } = exchange;
  const names = [...address.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => name);
  const parameters = Object.fromEntries(
    names.map((name) => [name, { description: PARAMETERS[name] }]),
  );
  const message = { [exchange.body]: inChannel(exchange) };
  const channel = { address, summary, messages: message };
  const own = [id, names.length === 0 ? channel : { ...channel, parameters }] as const;
  if (answer === undefined) return [own];
  const messages = Object.fromEntries(answersOf(answer).map((name) => [name, messageRef(name)]));
  return [own, [`${id}Answer`, { address: null, summary: "The inbox of the asker", messages }]];
}

/** A body with headers of this channel is a message of its own. */
function inChannel({ body, headers }: Exchange): object {
  if (headers === undefined) return messageRef(body);
  const properties = Object.fromEntries(headers.map((name) => [name, { type: "string" }]));
  return {
    ...messageOf(body)[1],
    headers: { type: "object", properties },
  };
}

function operationOf(exchange: Exchange): readonly [string, object] {
  const { id, body, summary, from, to, answer } = exchange;
  const operation = {
    action: from === "mesh" ? "send" : "receive",
    channel: { $ref: `#/channels/${id}` },
    summary,
    tags: [{ name: from === to ? "control plane" : from === "mesh" ? to : from }],
    messages: [{ $ref: `#/channels/${id}/messages/${body}` }],
  };
  if (answer === undefined) return [id, operation];
  const reply = {
    channel: { $ref: `#/channels/${id}Answer` },
    messages: answersOf(answer).map((name) => ({
      $ref: `#/channels/${id}Answer/messages/${name}`,
    })),
  };
  return [id, { ...operation, reply }];
}

/** What is answered, or why it is not done. JetStream refuses in its own words. */
function answersOf(answer: string): readonly string[] {
  return answer === "PubAck" ? [answer] : [answer, "Refusal"];
}

function messageRef(name: string): object {
  return { $ref: `#/components/messages/${name}` };
}

function messageOf(name: string): readonly [string, object] {
  if (name === "bytes") {
    const payload = { type: "string", format: "binary" };
    return [name, { summary: "Any bytes", contentType: "application/octet-stream", payload }];
  }
  if (name === "empty") return [name, { summary: "No body, or `{}`" }];
  return [name, { payload: { $ref: `#/components/schemas/${name}` } }];
}

/** Every schema of the protocol as JSON Schema, with what the source says of it and its fields. */
function schemas(): Readonly<Record<string, object>> {
  const registry = z.registry<{ id: string }>();
  for (const [name, value] of Object.entries(protocol)) {
    if (value instanceof z.ZodType) registry.add(value, { id: name });
  }
  const source = sources();
  const made = z.toJSONSchema(registry, {
    target: "draft-7",
    io: "input",
    unrepresentable: "any",
    uri: (id) => `#/components/schemas/${id}`,
  });
  return Object.fromEntries(
    Object.entries(made.schemas).map(
      ([name, { $id: _id, $schema: _schema, id: _name, ...schema }]) => [
        name,
        described(schema, docOf(source, name), fieldDocsOf(source, name)),
      ],
    ),
  );
}

interface ObjectSchema {
  readonly properties?: Readonly<Record<string, unknown>> | undefined;
}

function described(schema: ObjectSchema, doc: string, fields: ReadonlyMap<string, string>): object {
  const properties = Object.entries(schema.properties ?? {}).map(([field, value]) => {
    const description = fields.get(field);
    const plain = typeof value === "object" && value !== null && !("$ref" in value);
    // Beside a `$ref` nothing else counts.
    return [field, description === undefined || !plain ? value : { description, ...value }];
  });
  return {
    ...(doc === "" ? {} : { description: doc }),
    ...schema,
    ...(properties.length === 0 ? {} : { properties: Object.fromEntries(properties) }),
  };
}

function sources(): string {
  const folder = join(ROOT, "packages/protocol/src");
  return readdirSync(folder)
    .map((name) => readFileSync(join(folder, name), "utf8"))
    .join("\n");
}
