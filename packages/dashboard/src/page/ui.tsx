/** Small parts that every page uses. */
import type { ComponentChildren } from "preact";
import { linkTo } from "./route.ts";

/** How good or bad a word is. */
type Tone = "good" | "busy" | "warn" | "bad" | "off";

const TONES: Readonly<Record<string, Tone>> = {
  ...{ ACTIVE: "good", SYNCING: "good", JOINING: "busy", DISCOVERING: "busy" },
  ...{ DEGRADED: "warn", LEAVING: "warn", SILENT: "bad", FAILED: "bad", LEFT: "off" },
  ...{ running: "busy", retrying: "warn", succeeded: "good", failed: "bad" },
  ...{ rejected: "bad", cancelled: "off" },
  ...{ cordoned: "warn", paused: "warn" },
  ...{ elected: "good", leads: "good", resigned: "off", lost: "bad", replaced: "off" },
  ...{ joined: "good", recovered: "good", degraded: "warn", leaving: "warn", left: "off" },
};

/** A word with its tone: never by colour alone. */
export function Badge({ of }: { readonly of: string }) {
  return <span class={`badge ${TONES[of] ?? "off"}`}>{of}</span>;
}

export function Panel(props: {
  readonly title: string;
  readonly note?: ComponentChildren;
  readonly children: ComponentChildren;
  readonly wide?: boolean;
}) {
  return (
    <section class={`panel ${props.wide === true ? "wide" : ""}`} aria-label={props.title}>
      <header class="panel-head">
        <h2>{props.title}</h2>
        {props.note === undefined ? null : <div class="note">{props.note}</div>}
      </header>
      {props.children}
    </section>
  );
}

/** Names and values, one pair a row. */
export function Pairs({
  rows,
}: {
  readonly rows: readonly (readonly [string, ComponentChildren])[];
}) {
  return (
    <dl class="pairs">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** What is shown where there is nothing. */
export function Empty({ children }: { readonly children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

/** A share as a bar; the number stands beside it. */
export function Bar({ share }: { readonly share: number }) {
  return (
    <span class="bar" aria-hidden="true">
      <span style={{ width: `${Math.round(100 * share)}%` }} />
    </span>
  );
}

export function TaskLink({ id }: { readonly id: string }) {
  return (
    <a class="mono" href={linkTo("tasks", id)}>
      {id}
    </a>
  );
}

export function NodeLink({ id }: { readonly id: string | null }) {
  if (id === null || id === "") return <span class="muted">–</span>;
  return (
    <a class="mono" href={linkTo("nodes", id)}>
      {id}
    </a>
  );
}

/** JSON or text, scrolled within its box, by the keyboard as well. */
export function Code({ label, text }: { readonly label: string; readonly text: string }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <section class="code" tabIndex={0} aria-label={`${label}, text`}>
      <pre>{text}</pre>
    </section>
  );
}

/** A table that scrolls sideways on its own when the screen is narrow. */
export function Table(props: {
  readonly label: string;
  readonly head: readonly string[];
  readonly children: ComponentChildren;
}) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <section class="scroll" tabIndex={0} aria-label={`${props.label}, table`}>
      <table>
        <thead>
          <tr>
            {props.head.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{props.children}</tbody>
      </table>
    </section>
  );
}
