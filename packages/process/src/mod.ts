export { ConfigError, type ConfigSource, loadConfig, ProcessConfig, variableOf } from "./config.ts";
export { createLogger, type Logger } from "./logger.ts";
export { runService, type ServiceDefinition, type ServiceDeps } from "./run.ts";
export { readSeed } from "./seed.ts";
