/** Every setting of every service, read from the schemas and from what the source says of each. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { ProcessConfig, variableOf } from "../../../packages/process/src/config.ts";
import { ROOT } from "../markdown.ts";
import { CONFIGS, type Settings } from "../settings.ts";
import { fieldDocsOf } from "./docstrings.ts";
import { cell, heading, table } from "./page.ts";

const INTRO = `How a service reads them, and which belong together, says [configuration](../configuration.md), where the options of nodes, clients and
\`swarmctl\` are as well. Durations are milliseconds.`;

/** NATS' own variables are read as well. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  natsUrl: "NATS_URL",
  natsNkey: "NATS_NKEY",
  natsCa: "NATS_CA",
  natsCert: "NATS_CERT",
  natsKey: "NATS_KEY",
};

/** The page, as it is written to docs/reference/configuration.md. */
export function configurationPage(): string {
  const shared = Object.keys(ProcessConfig.shape);
  const services = Object.entries(CONFIGS).map(([name, schema]) => {
    const own = Object.keys(schema.shape).filter((key) => !shared.includes(key));
    return section(name, own, schema, `services/${name}/src/config.ts`);
  });
  return [
    heading("Settings of the services", "their schemas"),
    INTRO,
    section("Every service", shared, ProcessConfig, "packages/process/src/config.ts"),
    ...services,
  ]
    .join("\n\n")
    .concat("\n");
}

function section(title: string, keys: readonly string[], schema: Settings, path: string): string {
  const source = readFileSync(join(ROOT, path), "utf8");
  const docs = new Map([...fieldDocsOf(source, "Config"), ...fieldDocsOf(source, "ProcessConfig")]);
  const made = z.toJSONSchema(schema, { io: "output", unrepresentable: "any" });
  const rows = keys.map((key) => {
    const field = made.properties?.[key];
    const { default: value, ...rest } = typeof field === "object" ? field : {};
    const names = [OTHER_NAMES[key], variableOf(key)].filter((name) => name !== undefined);
    return [
      `\`${key}\``,
      names.map((name) => `\`${name}\``).join(" "),
      value === undefined ? "–" : `\`${String(value)}\``,
      cell(allowed(rest)),
      cell(docs.get(key) ?? ""),
    ];
  });
  return `## ${title}\n\n${table(["key", "variable", "default", "allowed", "meaning"], rows)}`;
}

/** What values a field takes, for people. */
function allowed(field: z.core.JSONSchema.BaseSchema): string {
  if (field.enum !== undefined) return field.enum.map((value) => `\`${String(value)}\``).join(" ");
  if (field.pattern !== undefined) return `\`${field.pattern}\``;
  if (field.type === "boolean") return "`true` `false`";
  if (field.type !== "integer" && field.type !== "number") return "text";
  const { minimum, maximum, multipleOf } = field;
  const least = minimum === undefined || minimum === Number.MIN_SAFE_INTEGER ? undefined : minimum;
  const most = maximum === undefined || maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum;
  const range =
    least === undefined
      ? most === undefined
        ? "any number"
        : `at most ${most}`
      : most === undefined
        ? `${least} or more`
        : `${least} to ${most}`;
  return multipleOf === undefined || multipleOf === 1
    ? range
    : `${range}, in steps of ${multipleOf}`;
}
