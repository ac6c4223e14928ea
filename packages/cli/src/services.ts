/** The services of a mesh, in the order they are started and people name them. */
export const SERVICES = [
  "registry",
  "coordinator",
  "health-monitor",
  "migrator",
  "authenticator",
] as const;
export type ServiceName = (typeof SERVICES)[number];
