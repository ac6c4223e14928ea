import { type Logger, pino } from "pino";

export type { Logger } from "pino";

/** JSON lines on stdout: `time`, `level`, `service`, `instance`, then the line's own fields. */
export function createLogger(service: string, instance: string, level: string): Logger {
  return pino(
    {
      level,
      timestamp: pino.stdTimeFunctions.isoTime,
      base: { service, instance },
      formatters: { level: (label) => ({ level: label }) },
      redact: ["seed", "*.seed", "nkey", "*.nkey"],
    },
    // Pino's own writer tries a broken pipe again for ever, and would keep the process from ending.
    process.stdout,
  );
}
