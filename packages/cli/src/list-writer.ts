/** A list that is printed as it is found: a table at its end, JSON item by item. */
import type { Io } from "./io.ts";
import { type Format, line, table } from "./output.ts";

/** How a list is printed. */
export interface ListShape<T> {
  /** The field of a JSON document that holds it. */
  readonly name: string;
  /** What there may be more of, in words. */
  readonly what: string;
  readonly head: readonly string[];
  readonly row: (item: T) => readonly string[];
  /** What is said when there is nothing: `no dead letters`. */
  readonly none: string;
  /** Items that are shown. */
  readonly limit: number;
  /** What JSON holds of an item; default: all of it. */
  readonly json?: (item: T) => unknown;
}

/** Holds the cells of a table, and of JSON nothing. */
export class ListWriter<T> {
  readonly #io: Pick<Io, "out">;
  readonly #format: Format;
  readonly #shape: ListShape<T>;
  readonly #rows: (readonly string[])[] = [];
  #count = 0;
  #complete = true;

  constructor(io: Pick<Io, "out">, format: Format, shape: ListShape<T>) {
    this.#io = io;
    this.#format = format;
    this.#shape = shape;
    if (format === "json") io.out(`{\n  "${shape.name}": [`);
  }

  /** Takes one more; `false`: there are enough, and this one is left out. */
  add(item: T): boolean {
    const { limit, row, json = (same: T): unknown => same } = this.#shape;
    if (this.#count >= limit) {
      this.#complete = false;
      return false;
    }
    this.#count++;
    switch (this.#format) {
      case "table":
        this.#rows.push(row(item));
        break;
      case "json":
        this.#io.out(`${this.#count === 1 ? "" : ","}\n    ${JSON.stringify(json(item))}`);
        break;
      case "jsonl":
        this.#io.out(line(json(item)));
        break;
    }
    return true;
  }

  /**
   * Prints what is left to print. Call it once, after the last {@link add}; `more`: there are, or the
   * line that says in which way the list is not whole.
   */
  end(more: boolean | string = false): void {
    const cut = !this.#complete;
    if (more !== false) this.#complete = false;
    const { head, none, limit, what } = this.#shape;
    if (this.#format === "json") {
      this.#io.out(`${this.#count === 0 ? "" : "\n  "}],\n  "complete": ${this.#complete}\n}\n`);
    } else if (this.#format === "table") {
      const whole = `(there are more than ${limit} ${what}: --limit shows more of them, filters fewer)\n`;
      const hint = typeof more === "string" && !cut ? more : whole;
      const text = this.#count === 0 ? `${none}\n` : table(head, this.#rows);
      this.#io.out(this.#complete ? text : `${text}${hint}`);
    }
  }
}
