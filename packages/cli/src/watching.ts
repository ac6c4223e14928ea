/** Printing something once, or again and again until Ctrl-C. */
import { systemClock, ticks } from "@swarm-mesh/runtime";
import type { Io } from "./io.ts";
import { document, type Format, line } from "./output.ts";

export interface WatchFlags {
  readonly watch?: boolean;
}

/** Something to look at: a value for programs, and how people see it. */
export interface View<T> {
  readonly read: () => Promise<T>;
  readonly render: (value: T) => string;
}

const WATCH_INTERVAL_MS = 2_000;
/** Moves to the top left and clears from there: what is printed next replaces what was. */
const CLEAR = "\u001b[H\u001b[2J";

/** Prints the view; with `watch` every two seconds until interrupted, JSON then one line each. */
export async function show<T>(
  view: View<T>,
  options: { readonly io: Io; readonly format: Format; readonly watch: boolean },
): Promise<void> {
  const { io, format, watch } = options;
  if (!watch) {
    const value = await view.read();
    io.out(format === "json" ? document(value) : view.render(value));
    return;
  }
  const signal = io.interrupted();
  for await (const _ of ticks({ clock: systemClock, everyMs: WATCH_INTERVAL_MS, signal })) {
    const value = await view.read();
    if (signal.aborted) return;
    const text = format === "json" ? line(value) : view.render(value);
    io.out(io.terminal && format === "table" ? `${CLEAR}${text}` : text);
  }
}
