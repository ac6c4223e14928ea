export { ManualClock } from "./manual-clock.ts";
export { isAlive, Mesh, type MeshOptions, type MeshProcess } from "./mesh.ts";
export { NatsServer } from "./nats-server.ts";
export { type Deps, type Fixtures, test } from "./test.ts";
