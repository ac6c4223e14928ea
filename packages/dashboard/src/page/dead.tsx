/** Tasks that were given up: what happened to them, and another chance. */
import { looseValue, MESH_DEAD } from "@swarm-mesh/protocol";
import { useEffect, useState } from "preact/hooks";
import { Act } from "./act.tsx";
import { retryLetter } from "./actions.ts";
import { ago, bytes, clock, number, pretty } from "./format.ts";
import { isSigned, type Letter } from "./letters.ts";
import { LETTERS_MAX, type MeshView } from "./mesh-view.ts";
import { goTo, linkTo, type Route, setQuery } from "./route.ts";
import { Badge, Code, Empty, NodeLink, Pairs, Panel, Table, TaskLink } from "./ui.tsx";

const SHOWN_MAX = 200;

export function DeadPage({ view, at }: { readonly view: MeshView; readonly at: Route }) {
  view.version.value;
  const [seq] = at.rest;
  if (seq !== undefined) {
    return (
      <LetterDetail
        key={seq}
        view={view}
        seq={Number(seq)}
        letter={view.letters.get(Number(seq))}
      />
    );
  }
  const wanted = (at.query.get("q") ?? "").toLowerCase();
  const all = [...view.letters.values()].reverse();
  const found = all.filter((letter) => textOf(letter).includes(wanted));
  const total = view.depths.value?.dead ?? all.length;
  return (
    <div class="stack">
      <Panel
        title="Dead letters"
        note={
          total > all.length
            ? `the newest ${number(all.length)} of ${number(total)}`
            : number(total)
        }
      >
        <div class="filters">
          <input
            type="search"
            aria-label="Find dead letters"
            placeholder="task, capability, error  ( / )"
            value={at.query.get("q") ?? ""}
            onInput={(event) => setQuery({ q: event.currentTarget.value })}
          />
        </div>
        {found.length === 0 ? (
          <Empty>
            {all.length === 0 ? "No task was given up. Good." : "No letter is like that."}
          </Empty>
        ) : (
          <Letters view={view} letters={found.slice(0, SHOWN_MAX)} />
        )}
        {total > LETTERS_MAX ? (
          <p class="hint">
            A page keeps the newest {LETTERS_MAX}; <code>swarmctl dead list</code> has them all.
          </p>
        ) : null}
      </Panel>
    </div>
  );
}

function textOf({ task, capability, status, error }: Letter): string {
  return `${task} ${capability} ${status} ${error?.code} ${error?.message}`.toLowerCase();
}

function Letters({
  view,
  letters,
}: {
  readonly view: MeshView;
  readonly letters: readonly Letter[];
}) {
  const wall = view.wall.value;
  return (
    <Table
      label="Dead letters"
      head={["Letter", "Task", "Status", "Capability", "Tries", "Given up", "Error"]}
    >
      {letters.map((letter) => (
        <tr
          key={letter.seq}
          data-letter={letter.task}
          onClick={() => goTo("dead", String(letter.seq))}
        >
          <td class="num">
            <a href={linkTo("dead", String(letter.seq))}>{letter.seq}</a>
          </td>
          <td class="mono">{letter.task}</td>
          <td>
            <Badge of={letter.status} />
          </td>
          <td class="mono cut">{letter.capability}</td>
          <td class="num">{letter.tries.length}</td>
          <td title={clock(letter.at, wall)}>{ago(letter.at, wall)}</td>
          <td class="cut" title={letter.error?.message ?? ""}>
            {letter.error === undefined ? "" : `${letter.error.code}: ${letter.error.message}`}
          </td>
        </tr>
      ))}
    </Table>
  );
}

function LetterDetail(props: {
  readonly view: MeshView;
  readonly seq: number;
  readonly letter: Letter | undefined;
}) {
  const { view, seq, letter } = props;
  const body = useBody(view, seq);
  return (
    <div class="stack">
      <nav class="crumbs" aria-label="Where this is">
        <a href={linkTo("dead")}>Dead letters</a> / {seq}
      </nav>
      {letter === undefined ? (
        <Panel title={`Letter ${seq}`}>
          <Empty>This page does not have it: it is too old, or there is no such letter.</Empty>
        </Panel>
      ) : (
        <About view={view} letter={letter} />
      )}
      <Panel title="Body" note={body === undefined ? "" : bytes(body.length)}>
        {body === undefined ? (
          <Empty>Reading …</Empty>
        ) : body.length === 0 ? (
          <Empty>It is empty.</Empty>
        ) : (
          <Code label="Body" text={shown(body)} />
        )}
      </Panel>
    </div>
  );
}

/** The body is read when someone looks at the letter: it may have 1 MB. */
function useBody(view: MeshView, seq: number): Uint8Array | undefined {
  const [body, setBody] = useState<Uint8Array>();
  const connected = view.link.phase.value === "connected";
  useEffect(() => {
    if (!connected) return;
    view.manager.streams.getMessage(MESH_DEAD.name, { seq }).then(
      (message) => setBody(message?.data),
      // Nothing to read: the page says so by "Reading", and that it is not connected above.
      () => undefined,
    );
  }, [view, seq, connected]);
  return body;
}

const BODY_SHOWN_CHARS = 20_000;

function shown(body: Uint8Array): string {
  const value = looseValue(body);
  const text = typeof value === "string" ? value : pretty(value);
  return text.length > BODY_SHOWN_CHARS ? `${text.slice(0, BODY_SHOWN_CHARS)}\n… cut here` : text;
}

function About({ view, letter }: { readonly view: MeshView; readonly letter: Letter }) {
  const wall = view.wall.value;
  const { error, capability } = letter;
  return (
    <Panel title={letter.task} note={<Badge of={letter.status} />}>
      {error === undefined ? null : (
        <p class="problem">
          <b>{error.code}</b>: {error.message}
        </p>
      )}
      <div class="columns">
        <Pairs
          rows={[
            ["task", <TaskLink key="task" id={letter.task} />],
            ["capability", `${capability || "–"} (${letter.lane || "–"})`],
            ["submitted", letter.submittedAt === "" ? "–" : clock(letter.submittedAt, wall)],
            ["given up", `${clock(letter.at, wall)} (${ago(letter.at, wall)})`],
          ]}
        />
        <Pairs rows={letter.submit} />
      </div>
      {letter.tries.length === 0 ? null : (
        <ol class="timeline">
          {letter.tries.map((failed) => (
            <li key={failed.attempt} class="bad">
              <time dateTime={failed.at}>{clock(failed.at, wall)}</time>
              <span class="what">
                try {failed.attempt} failed on <NodeLink id={failed.node} />{" "}
                <span class="muted">
                  {failed.error.code}: {failed.error.message}
                </span>
              </span>
            </li>
          ))}
        </ol>
      )}
      {view.link.mayAct ? (
        <Act
          label="Submit again"
          possible={capability !== ""}
          question={`It is submitted again as it was, under a new id${isSigned(letter) ? ", and not signed: for that, swarmctl dead retry --sign-with" : ""}. Doing this twice runs it once.`}
          run={() => retryLetter(view, letter)}
        />
      ) : null}
    </Panel>
  );
}
