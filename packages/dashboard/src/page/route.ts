/** The address is the state: every page, filter and detail has a link. `#/tasks/t1`, `#/nodes?q=gpu`. */
import { signal } from "@preact/signals";

export interface Route {
  /** `overview`, `nodes`, … */
  readonly page: string;
  /** What is behind it, each part decoded. */
  readonly rest: readonly string[];
  readonly query: URLSearchParams;
}

/** The pages, in the order of the navigation and of the keys 1 to 6. */
export const PAGES = [
  ["overview", "Overview"],
  ["nodes", "Nodes"],
  ["tasks", "Tasks"],
  ["leaders", "Leaders"],
  ["dead", "Dead letters"],
  ["why", "Why"],
] as const;

export const route = signal<Route>(parse(location.hash));

addEventListener("hashchange", () => {
  route.value = parse(location.hash);
});

/** The link to a page, its parts encoded. */
export function linkTo(...parts: readonly string[]): string {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

export function goTo(...parts: readonly string[]): void {
  location.hash = linkTo(...parts);
}

/** Puts filters into the address without a step in the history. */
export function setQuery(changes: Readonly<Record<string, string>>): void {
  const { page, rest, query } = route.peek();
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) {
    if (value === "") next.delete(name);
    else next.set(name, value);
  }
  const text = next.toString();
  history.replaceState(null, "", `${linkTo(page, ...rest)}${text === "" ? "" : `?${text}`}`);
  route.value = { page, rest, query: next };
}

/** Reads an address; what nobody knows is the overview. */
function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [page = "", ...rest] = path.split("/").filter(Boolean).map(decoded);
  const known = PAGES.some(([name]) => name === page);
  return { page: known ? page : "overview", rest, query: new URLSearchParams(query) };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    // Typed by hand, and no encoding at all.
    return part;
  }
}
