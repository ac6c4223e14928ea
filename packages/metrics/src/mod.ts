export { Meters } from "@swarm-mesh/runtime";
export { type MetricsPage, metricsPage } from "./page.ts";
export { type StatusOptions, serveStatus } from "./serve.ts";
