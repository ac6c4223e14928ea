/** Alerts, runbook, dashboard and scrape configurations, held against each other and against docs/metrics.md. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { panelQueries } from "./cluster/panels.ts";

const ROOT = join(import.meta.dirname, "..");

interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly runbook: string };
}
interface RuleTest {
  readonly alert_rule_test: readonly { alertname: string; exp_alerts: readonly unknown[] }[];
}
interface ScrapeConfig {
  readonly job_name: string;
  readonly static_configs?: readonly { readonly targets: readonly string[] }[];
}

const rules = yaml<{ groups: { rules: Alert[] }[] }>("deploy/prometheus/alerts.yml");
const alerts = rules.groups.flatMap((group) => group.rules);
const documented = new Set(
  [...text("docs/metrics.md").matchAll(/^\| `(\w+)` +\| (\w+)/gm)].flatMap(([, name = "", type]) =>
    type === "histogram" ? ["_bucket", "_sum", "_count"].map((end) => name + end) : [name],
  ),
);

describe.each(alerts.map((alert) => [alert.alert, alert] as const))("%s", (name, alert) => {
  test("says what is wrong, how urgent it is, and where to read on", () => {
    expect(["page", "ticket", "none"]).toContain(alert.labels.severity);
    expect(alert.annotations.summary).not.toBe("");
    expect(alert.annotations.runbook).toBe(`docs/runbook.md#${name.toLowerCase()}`);
    const [, paragraph = ""] = text("docs/runbook.md").split(`\n## ${name}\n`);
    expect(paragraph.split("\n## ")[0]).toMatch(/\*\*Do\*\*: .{40}/);
  });

  test("asks for metrics that exist", () => {
    expect(namesIn(alert.expr).filter((one) => !documented.has(one))).toEqual([]);
  });

  test("is tried: there is a case in which it fires", () => {
    const { tests } = yaml<{ tests: RuleTest[] }>("deploy/prometheus/alerts.test.yml");
    const cases = tests.flatMap((one) => one.alert_rule_test);
    const own = cases.filter(({ alertname }) => alertname === name);
    expect(own.some(({ exp_alerts }) => exp_alerts.length > 0)).toBe(true);
  });
});

test("the runbook has no alert that is gone", () => {
  const headings = [...text("docs/runbook.md").matchAll(/^## (\w+)$/gm)].map(([, name]) => name);
  expect(headings.sort()).toEqual([...new Set(alerts.map(({ alert }) => alert))].sort());
});

test("every panel asks for metrics that exist", () => {
  const queries = panelQueries();
  expect(queries.length).toBeGreaterThan(20);
  const unknown = queries.flatMap(({ title, expr }) =>
    namesIn(expr).flatMap((name) => (documented.has(name) ? [] : [`${title}: ${name}`])),
  );
  expect(unknown).toEqual([]);
});

test("Prometheus looks where install.sh has put the services, and where compose.yaml has them", () => {
  const { scrape_configs } = yaml<{ scrape_configs: ScrapeConfig[] }>(
    "deploy/prometheus/prometheus.yml",
  );
  const install = text("deploy/install.sh");
  const [, first = ""] = /local service port=(\d+)/.exec(install) ?? [];
  const [, order = ""] =
    /for service in (.+); do\n +offer "\$etc\/\$service.env"/.exec(install) ?? [];
  const services = order
    .split(" ")
    .map((name, at) => [`swarm-mesh-${name}`, `127.0.0.1:${Number(first) + at}`]);
  const targets = scrape_configs.map(({ job_name, static_configs = [] }) => [
    job_name,
    ...static_configs.flatMap((one) => one.targets),
  ]);
  expect(targets).toEqual([...services, ["swarm-mesh-node", "127.0.0.1:9464"]]);
  const beside = yaml<{ scrape_configs: ScrapeConfig[] }>("deploy/prometheus/compose.yml");
  expect(beside.scrape_configs.map(({ job_name }) => job_name)).toEqual(
    targets.map(([job]) => job),
  );
});

test("beside compose.yaml Prometheus reaches everything that it looks for", () => {
  type Compose = { services: Record<string, { environment?: Record<string, string> }> };
  const { services } = yaml<Compose>("deploy/compose.observability.yaml");
  const { scrape_configs } = yaml<{
    scrape_configs: { dns_sd_configs: { names: string[]; port: number }[] }[];
  }>("deploy/prometheus/compose.yml");
  const looked = scrape_configs.flatMap(({ dns_sd_configs }) => dns_sd_configs);
  expect(looked.length).toBeGreaterThan(0);
  for (const { names, port } of looked) {
    for (const name of names) {
      expect(services[name]?.environment, name).toEqual({
        MESH_HTTP_PORT: String(port),
        MESH_HTTP_HOST: "0.0.0.0",
      });
    }
  }
});

test("compose.observability.yaml changes services that there are, and publishes nothing to others", () => {
  type Compose = { services: Record<string, { image?: string; ports?: string[] }> };
  const own = yaml<Compose>("deploy/compose.observability.yaml").services;
  const mesh = Object.keys(yaml<Compose>("deploy/compose.yaml").services);
  for (const [name, { image, ports = [] }] of Object.entries(own)) {
    if (image === undefined) expect(mesh).toContain(name);
    expect(ports.filter((port) => !port.startsWith("127.0.0.1:"))).toEqual([]);
  }
});

/** The metrics that an expression names. */
function namesIn(expr: string): string[] {
  const words = expr.replaceAll(/"[^"]*"/g, "").matchAll(/\b((?:mesh|nodejs|process)_\w+)\b/g);
  return [...words].map(([name]) => name);
}

function text(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

function yaml<T>(path: string): T {
  return parse(text(path), { merge: true }) as T;
}
