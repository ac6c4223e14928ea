/** The screen of `swarmctl top`: what was drawn, as ink shows it, and the keys that are pressed. */
import { Box, type Key as InkKey, render, Text, useApp, useInput, useStdout } from "ink";
import { createElement, type ReactElement, useEffect, useState } from "react";
import { bodyLines, headLines, type Line, windowOf } from "./draw.ts";
import type { Picture } from "./picture.ts";
import { type Key, press, START, type Ui, type Wish } from "./ui.ts";

export interface ScreenProps {
  readonly picture: Picture;
  /** The time of day, as it is shown. */
  readonly clock: string;
  /** Answers why a thing is as it is. */
  readonly explain: (about: NonNullable<Line["about"]>) => Promise<readonly string[]>;
}

/** A terminal that does not say how large it is. */
const SIZE_DEFAULT = { columns: 80, rows: 24 };

/** The alternative screen: what was on the terminal before comes back at the end. */
const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";

function Screen({ picture, clock, explain }: ScreenProps): ReactElement {
  const { exit } = useApp();
  const { columns, rows } = useSize();
  const [ui, setUi] = useState<Ui>(START);
  const { head, lines } = bodyLines(picture, ui);
  const top = [...headLines(picture, ui, clock), { text: "" }, ...head];
  const chosen = Math.min(ui.line, Math.max(0, lines.length - 1));
  // A row is left free: a picture as high as the terminal makes it scroll.
  const window = windowOf(lines, chosen, rows - top.length - 1);
  useInput((input, key) => {
    let [next, wish]: [Ui, Wish] = [{ ...ui, line: chosen }, undefined];
    for (const one of keysOf(input, key)) {
      const pressed = press(next, one, lines.length);
      next = pressed.ui;
      wish ??= pressed.wish;
    }
    setUi(next);
    if (wish === "quit") exit();
    const about = lines[chosen]?.about;
    if (wish !== "explain" || about === undefined) return;
    const title = `why ${about.kind} ${about.id}`;
    setUi({ ...next, detail: { title, lines: ["…"] } });
    const answered = (answer: readonly string[]): void =>
      // Whoever has gone on meanwhile is not called back.
      setUi((now) =>
        now.detail?.title === title ? { ...now, detail: { title, lines: answer } } : now,
      );
    explain(about).then(answered, (error: unknown) => answered([String(error)]));
  });
  const shown = [
    ...top.map((line) => ({ line, inverse: false })),
    ...window.lines.map((line, index) => ({
      line,
      inverse: window.from + index === chosen && ui.detail === undefined && !ui.help,
    })),
  ];
  const wraps = ui.detail !== undefined;
  return createElement(
    Box,
    { flexDirection: "column", width: columns, height: rows - 1, overflow: "hidden" },
    ...shown.map(({ line, inverse }, index) =>
      createElement(
        Text,
        { key: index, wrap: wraps ? "wrap" : "truncate", inverse, ...styleOf(line) },
        line.text === "" ? " " : line.text,
      ),
    ),
  );
}

function styleOf({ colour }: Line) {
  if (colour === undefined) return {};
  if (colour === "bold") return { bold: true };
  return colour === "dim" ? { dimColor: true } : { color: colour };
}

function useSize(): { readonly columns: number; readonly rows: number } {
  const { stdout } = useStdout();
  const measure = () => ({
    columns: stdout.columns || SIZE_DEFAULT.columns,
    rows: stdout.rows || SIZE_DEFAULT.rows,
  });
  const [size, setSize] = useState(measure);
  useEffect(() => {
    const onResize = (): void => setSize(measure());
    stdout.on("resize", onResize);
    return () => void stdout.off("resize", onResize);
  }, [stdout]);
  return size;
}

/** The keys of one word from the terminal: what is typed fast, or pasted, comes as several. */
function keysOf(input: string, key: InkKey): readonly Key[] {
  const names = [
    ["up", key.upArrow],
    ["down", key.downArrow],
    ["left", key.leftArrow],
    ["right", key.rightArrow],
    ["pageUp", key.pageUp],
    ["pageDown", key.pageDown],
    ["return", key.return],
    ["escape", key.escape],
    ["tab", key.tab],
    ["backspace", key.backspace || key.delete],
  ] as const;
  const name = names.find(([, pressed]) => pressed)?.[0];
  if (name !== undefined) return [{ input, name }];
  return [...input].map((one) => (one === "\r" ? { input: "", name: "return" } : { input: one }));
}

/** Shows the screen until somebody quits or `signal` aborts; `props` are asked for at each `next`. */
export async function showScreen(
  props: () => ScreenProps,
  signal: AbortSignal,
  everyTick: (signal: AbortSignal) => AsyncIterable<unknown>,
): Promise<void> {
  const { stdout } = process;
  const ended = new AbortController();
  stdout.write(ENTER);
  try {
    const app = render(createElement(Screen, props()), { patchConsole: false });
    const stop = (): void => app.unmount();
    signal.addEventListener("abort", stop, { once: true });
    const drawing = (async () => {
      for await (const _ of everyTick(ended.signal)) app.rerender(createElement(Screen, props()));
    })();
    await app.waitUntilExit();
    ended.abort();
    await drawing;
    signal.removeEventListener("abort", stop);
  } finally {
    ended.abort();
    stdout.write(LEAVE);
  }
}
