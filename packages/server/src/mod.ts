export { type Certificates, ensureCertificates, readCertificates } from "./certificates.ts";
export { type ClusterMember, prepareCluster, serverConf } from "./cluster.ts";
export { writeContexts } from "./contexts.ts";
export { type Attempt, NatsServerNotFound, ServerError, type ServerErrorCode } from "./errors.ts";
export {
  addNodeKey,
  ensureKeys,
  ensureSeed,
  issuerPath,
  makeSeedFile,
  type NodeKey,
  nodeKeys,
  type PublicKeys,
  readSeed,
  removeNodeKey,
  seedPath,
} from "./keys.ts";
export {
  type LocateOptions,
  locateNatsServer,
  type NatsServerBinary,
  type NatsServerSource,
} from "./locate.ts";
export { freePorts, isPortFree } from "./ports.ts";
export {
  CONF_PATH,
  prepareServerDir,
  type ServerDir,
  type ServerDirOptions,
} from "./server-dir.ts";
export { type RunningNatsServer, type StartOptions, startNatsServer } from "./start.ts";
export { USERS } from "./users.ts";
export { ADVISED_VERSION, MINIMUM_VERSION, PREFERRED_VERSION } from "./version.ts";
