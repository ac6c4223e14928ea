/** Keys: pages by number, `/` to search, j and k along a list, `?` for this help. */
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { goTo, PAGES } from "./route.ts";

const open = signal(false);

const KEYS = [
  ["1 … 6", "a page, in the order of the navigation"],
  ["/", "search"],
  ["j, k", "down and up a list"],
  ["Enter", "open what is chosen"],
  ["Esc", "leave the search; close this"],
  ["?", "this help"],
] as const;

/** Handles a key that was not typed into a field. */
export function onKey(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target instanceof HTMLElement ? event.target : undefined;
  if (target?.matches("input, select, textarea") === true) {
    if (event.key === "Escape") target.blur();
    return;
  }
  const page = PAGES[Number(event.key) - 1];
  if (page !== undefined) goTo(page[0]);
  else if (event.key === "/") focusSearch(event);
  else if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "?") open.value = true;
}

function focusSearch(event: KeyboardEvent): void {
  const search = document.querySelector<HTMLInputElement>("input[type=search]");
  if (search === null) return;
  event.preventDefault();
  search.focus();
  search.select();
}

/** Moves the focus along the first link of each row. */
function move(by: number): void {
  const links = [...document.querySelectorAll<HTMLElement>("tbody tr a:first-of-type")].filter(
    (link, index, all) => link.closest("tr") !== all[index - 1]?.closest("tr"),
  );
  const at = links.indexOf(document.activeElement as HTMLElement);
  const next = at < 0 ? 0 : Math.max(0, Math.min(links.length - 1, at + by));
  links[next]?.focus();
}

export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  const shown = open.value;
  useEffect(() => {
    if (shown) dialog.current?.showModal();
  }, [shown]);
  return (
    <dialog ref={dialog} aria-label="Keys" onClose={() => (open.value = false)}>
      <h2>Keys</h2>
      <dl class="pairs">
        {KEYS.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <form method="dialog">
        <button type="submit">Close</button>
      </form>
    </dialog>
  );
}
