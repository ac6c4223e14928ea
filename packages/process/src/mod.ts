export { ConfigError, type ConfigSource, loadConfig, ProcessConfig } from "./config.ts";
export { createLogger, type Logger } from "./logger.ts";
export { mainOf } from "./main-of.ts";
export { runService, type ServiceDefinition, type ServiceDeps } from "./run.ts";
export { readSeed } from "./seed.ts";
export { type StopTracing, startTracing } from "./tracing.ts";
