/** What `swarmctl top` shows of the picture: which view, which line, which filter. Keys in, state out. */

/** What may be looked at, in the order of the keys. */
export const VIEWS = ["overview", "nodes", "capabilities", "tasks", "events"] as const;
export type View = (typeof VIEWS)[number];

/** What the person at the keys has chosen. */
export interface Ui {
  readonly view: View;
  /** The line that is chosen, from 0. */
  readonly line: number;
  readonly filter: string;
  /** Is a filter being typed? */
  readonly typing: boolean;
  readonly help: boolean;
  /** What is explained in place of the view: `undefined`: nothing. */
  readonly detail: Detail | undefined;
}

interface Detail {
  readonly title: string;
  readonly lines: readonly string[];
}

/** A key, as the terminal tells it. */
export interface Key {
  readonly input: string;
  readonly name?:
    | "up"
    | "down"
    | "left"
    | "right"
    | "pageUp"
    | "pageDown"
    | "return"
    | "escape"
    | "tab"
    | "backspace"
    | undefined;
}

/** What a key asks of those who hold the state. */
export type Wish = "quit" | "explain" | undefined;

/** Before the first key. */
export const START: Ui = {
  view: "overview",
  line: 0,
  filter: "",
  typing: false,
  help: false,
  detail: undefined,
};

const FILTER_MAX_CHARS = 64;
const PAGE = 10;

/** The state after a key. `lines`: how many there are to choose from. */
export function press(ui: Ui, key: Key, lines: number): { readonly ui: Ui; readonly wish: Wish } {
  const stay = (next: Partial<Ui>): { readonly ui: Ui; readonly wish: Wish } => ({
    ui: { ...ui, ...next },
    wish: undefined,
  });
  if (ui.typing) return stay(typed(ui, key));
  if (key.input === "q") return { ui, wish: "quit" };
  if (key.name === "escape")
    return stay({ help: false, detail: undefined, filter: ui.detail || ui.help ? ui.filter : "" });
  if (key.input === "?") return stay({ help: !ui.help });
  if (key.input === "/") return stay({ typing: true, detail: undefined, help: false, line: 0 });
  const chosen = VIEWS[Number(key.input) - 1];
  if (/^[1-9]$/.test(key.input) && chosen !== undefined) return stay(shown(chosen));
  const at = VIEWS.indexOf(ui.view);
  const turn = (step: number): View => VIEWS[(at + step + VIEWS.length) % VIEWS.length] ?? ui.view;
  const move = (step: number): number =>
    Math.max(0, Math.min(Math.max(0, lines - 1), ui.line + step));
  switch (key.name) {
    case "right":
    case "tab":
      return stay(shown(turn(1)));
    case "left":
      return stay(shown(turn(-1)));
    case "down":
      return stay({ line: move(1) });
    case "up":
      return stay({ line: move(-1) });
    case "pageDown":
      return stay({ line: move(PAGE) });
    case "pageUp":
      return stay({ line: move(-PAGE) });
    case "return":
      return ui.detail === undefined ? { ui, wish: "explain" } : stay({ detail: undefined });
    default:
      return stay({});
  }
}

function shown(view: View): Partial<Ui> {
  return { view, line: 0, detail: undefined, help: false };
}

function typed({ filter }: Ui, { input, name }: Key): Partial<Ui> {
  switch (name) {
    case "return":
      return { typing: false };
    case "escape":
      return { typing: false, filter: "" };
    case "backspace":
      return { filter: filter.slice(0, -1), line: 0 };
    case undefined:
      return { filter: `${filter}${input}`.slice(0, FILTER_MAX_CHARS), line: 0 };
    default:
      return {};
  }
}
