export { Checker, type Evidence, type Verdict, type Violation } from "./checker.ts";
export {
  type HistoryEntry,
  type HistoryKind,
  HistoryLine,
  type LineOf,
  Watched,
} from "./history.ts";
export { HistoryError, HistoryWriter, type NumberedLine, readHistory } from "./history-file.ts";
export { RUN_RULES, TASK_RULES } from "./rules.ts";
export { MARGINS, type Margins } from "./run.ts";
