import { readFileSync } from "node:fs";
import { join } from "node:path";

interface Panel {
  readonly title: string;
  readonly targets?: readonly { readonly expr: string }[];
}

/** Each expression of the dashboard, with Grafana's own variable filled in. */
export function panelQueries(): { readonly title: string; readonly expr: string }[] {
  const file = join(import.meta.dirname, "..", "..", "deploy", "grafana", "swarm-mesh.json");
  const { panels } = JSON.parse(readFileSync(file, "utf8")) as { panels: Panel[] };
  return panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ title, expr: expr.replaceAll("$__rate_interval", "1m") })),
  );
}
