/** Printing something once, or again and again until Ctrl-C. */
import { systemClock, ticks } from "@swarm-mesh/runtime";
import type { Io } from "./io.ts";
import { type Format, print } from "./output.ts";

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
  // Documents that follow each other are lines.
  const lines = watch && format === "json" ? "jsonl" : format;
  await repeatedly(io, format, watch, async (shown) => {
    const value = await view.read();
    print(shown, lines, value, () => view.render(value));
  });
}

/**
 * Does `once`; with `watch` every two seconds until interrupted. At a terminal what it prints
 * replaces what it printed before, as a whole.
 */
export async function repeatedly(
  io: Io,
  format: Format,
  watch: boolean,
  once: (shown: Pick<Io, "out">) => Promise<void>,
): Promise<void> {
  if (!watch) return once(io);
  const signal = io.interrupted();
  for await (const _ of ticks({ clock: systemClock, everyMs: WATCH_INTERVAL_MS, signal })) {
    const parts: string[] = [];
    await once({ out: (text) => void parts.push(text) });
    if (signal.aborted) return;
    io.out(`${io.terminal && format === "table" ? CLEAR : ""}${parts.join("")}`);
  }
}
