import type { Meters } from "@swarm-mesh/runtime";
import { type Logger, pino } from "pino";

export type { Logger } from "pino";

export interface LoggerOptions {
  /** `coordinator`, `node`, … */
  readonly service: string;
  readonly instance: string;
  /** `debug`, `info`, `warn`, `error` or `silent`. */
  readonly level: string;
  /** Where its lines are counted. */
  readonly meters?: Meters;
}

/** JSON lines on stdout: `time`, `level`, `service`, `instance`, then the line's own fields. */
export function createLogger(options: LoggerOptions): Logger {
  const { service, instance, level, meters } = options;
  const lines = meters?.counters(
    {
      name: "mesh_log_lines_total",
      help: "Lines logged, by level; those below the level that is logged are not counted.",
      labels: ["level"],
    },
    ["info", "warn", "error"],
  );
  return pino(
    {
      level,
      timestamp: pino.stdTimeFunctions.isoTime,
      base: { service, instance },
      formatters: { level: (label) => ({ level: label }) },
      hooks: {
        logMethod(args, method, number) {
          lines?.of(pino.levels.labels[number] ?? "other").inc();
          method.apply(this, args);
        },
      },
      redact: ["seed", "*.seed", "nkey", "*.nkey"],
    },
    // Pino's own writer tries a broken pipe again for ever, and would keep the process from ending.
    process.stdout,
  );
}
