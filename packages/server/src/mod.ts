export { type LocateOptions, locateNatsServer, type NatsServerBinary, type NatsServerSource } from "./locate.ts";
export { type Attempt, NatsServerNotFound, ServerError, type ServerErrorCode } from "./errors.ts";
