/** Why a task, a node or a capability is as it is, with the evidence: what `swarmctl why` says. */
import { isTaskId } from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";
import { type Answer, KINDS, type Kind } from "@swarm-mesh/why";
import { useEffect, useState } from "preact/hooks";
import { answerTo } from "./asking.ts";
import { span } from "./format.ts";
import type { MeshView } from "./mesh-view.ts";
import { goTo, linkTo, type Route } from "./route.ts";
import { Empty, Panel } from "./ui.tsx";

export function WhyPage({ view, at }: { readonly view: MeshView; readonly at: Route }) {
  const [first = "", id = ""] = at.rest;
  const kind = KINDS.find((one) => one === first);
  return (
    <div class="stack">
      <Question view={view} kind={kind} id={id} />
      {kind === undefined || id === "" ? (
        <Panel title="Ask">
          <Empty>
            Why does a task wait, where does it run, why did it fail? Why does a node get nothing?
            Who serves a capability? Every task, node and capability on the other pages leads here.
          </Empty>
        </Panel>
      ) : (
        <Answered key={`${kind} ${id}`} view={view} kind={kind} id={id} />
      )}
    </div>
  );
}

function Question(props: {
  readonly view: MeshView;
  readonly kind: Kind | undefined;
  readonly id: string;
}) {
  const { view } = props;
  const [name, setName] = useState(props.id);
  const [kind, setKind] = useState<Kind | "">(props.kind ?? "");
  const [problem, setProblem] = useState("");
  useEffect(() => {
    setName(props.id);
    setKind(props.kind ?? "");
  }, [props.id, props.kind]);
  const ask = (event: Event): void => {
    event.preventDefault();
    const wanted = name.trim();
    const good = isTaskId(wanted);
    setProblem(good ? "" : "A name is 1 to 64 of A-Z a-z 0-9 _ -");
    if (good) goTo("why", kind === "" ? guess(view, wanted) : kind, wanted);
  };
  const capabilities = [...view.nodes.values()].flatMap((node) => node.capabilities);
  return (
    <Panel title="Why is …">
      <form class="filters" onSubmit={ask}>
        <select
          aria-label="kind"
          value={kind}
          onChange={(event) =>
            setKind(KINDS.find((one) => one === event.currentTarget.value) ?? "")
          }
        >
          <option value="">whatever it is</option>
          {KINDS.map((one) => (
            <option key={one} value={one}>
              the {one}
            </option>
          ))}
        </select>
        <input
          type="search"
          aria-label="Name"
          placeholder="a task, a node or a capability  ( / )"
          list="names"
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
        <datalist id="names">
          {[...new Set([...view.nodes.keys(), ...capabilities])].sort().map((one) => (
            <option key={one} value={one} />
          ))}
        </datalist>
        <button type="submit" class="primary">
          as it is?
        </button>
      </form>
      {problem === "" ? null : (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
    </Panel>
  );
}

/** A node or a capability that is known; else a task. */
function guess(view: MeshView, name: string): Kind {
  if (view.nodes.has(name)) return "node";
  const offered = [...view.nodes.values()].some((node) => node.capabilities.includes(name));
  return offered ? "capability" : "task";
}

interface Said {
  readonly answer?: Answer;
  readonly problem?: string;
  /** Monotonic. */
  readonly at: number;
}

function Answered(props: { readonly view: MeshView; readonly kind: Kind; readonly id: string }) {
  const { view, kind, id } = props;
  const [said, setSaid] = useState<Said>();
  const [round, setRound] = useState(0);
  const ready = view.ready.value && view.link.phase.value === "connected";
  useEffect(() => {
    if (!ready) return;
    let wanted = true;
    const say = (what: Omit<Said, "at">): void => {
      if (wanted) setSaid({ ...what, at: systemClock.elapsed() });
    };
    answerTo(view, kind, id).then(
      (answer) => say({ answer }),
      (error: unknown) => say({ problem: error instanceof Error ? error.message : String(error) }),
    );
    return () => {
      wanted = false;
    };
    // Asked again when someone asks, and when the link is back.
  }, [view, kind, id, ready, round]);
  const title = `The ${kind} ${id}`;
  if (said === undefined) {
    return (
      <Panel title={title}>
        <Empty>Looking …</Empty>
      </Panel>
    );
  }
  const page =
    kind === "capability" ? `${linkTo("tasks")}?capability=${id}` : linkTo(`${kind}s`, id);
  return (
    <Panel
      title={title}
      note={
        <>
          {`looked ${view.now.value - said.at < 1_000 ? "just now" : `${span(view.now.value - said.at)} ago`} · `}
          <a href={page}>show it</a>
        </>
      }
    >
      {said.answer === undefined ? (
        <p class="problem">It cannot be said now: {said.problem}</p>
      ) : (
        <>
          <p class="answer" data-cause={said.answer.cause}>
            {said.answer.sentence}
          </p>
          <ul class="evidence">
            {said.answer.evidence.map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
        </>
      )}
      <div class="act">
        <button type="button" onClick={() => setRound(round + 1)}>
          Look again
        </button>
        {view.link.mayAct ? null : (
          <span class="muted">
            A viewer may not read the queue, nor ask a node whether it is there; an admin&apos;s
            page says more.
          </span>
        )}
      </div>
    </Panel>
  );
}
