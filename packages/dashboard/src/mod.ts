export { type DashboardOptions, type RunningDashboard, serveDashboard } from "./serve.ts";
