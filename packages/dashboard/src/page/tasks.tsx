/** Tasks of the last day: the newest as they change, older ones as they are asked for. */
import { isTaskId, TaskStatus } from "@swarm-mesh/protocol";
import { number } from "./format.ts";
import type { MeshView } from "./mesh-view.ts";
import { linkTo, type Route, setQuery } from "./route.ts";
import { TaskDetail } from "./task-detail.tsx";
import { type Query, ROWS_MAX } from "./task-index.ts";
import { TaskTable } from "./task-table.tsx";
import { Empty, Panel } from "./ui.tsx";

const SHOWN_MAX = 100;

export function TasksPage({ view, at }: { readonly view: MeshView; readonly at: Route }) {
  view.version.value;
  const [id] = at.rest;
  if (id !== undefined) return <TaskDetail key={id} view={view} id={id} />;
  const query = queryOf(at);
  const { rows, all } = view.tasks.search(query, SHOWN_MAX);
  return (
    <div class="stack">
      <Panel
        title="Tasks"
        note={`${number(all)} match, of the ${number(view.tasks.size)} this page has read`}
      >
        <Filters view={view} query={query} />
        {rows.length === 0 ? <Nothing query={query} /> : <TaskTable view={view} rows={rows} />}
        <Older view={view} shown={rows.length} all={all} />
      </Panel>
    </div>
  );
}

function queryOf({ query }: Route): Query {
  const of = (name: string): string => query.get(name) ?? "";
  return { text: of("q"), status: of("status"), capability: of("capability"), node: of("node") };
}

function Filters({ view, query }: { readonly view: MeshView; readonly query: Query }) {
  const nodes = [...view.nodes.keys()].sort();
  const capabilities = [
    ...new Set([...view.nodes.values()].flatMap((node) => node.capabilities)),
  ].sort();
  return (
    <div class="filters">
      <input
        type="search"
        aria-label="Find tasks"
        placeholder="id, error, any word  ( / )"
        value={query.text}
        onInput={(event) => setQuery({ q: event.currentTarget.value })}
      />
      <Choice name="status" value={query.status} of={TaskStatus.options} />
      <Choice name="capability" value={query.capability} of={capabilities} />
      <Choice name="node" value={query.node} of={nodes} />
    </div>
  );
}

function Choice(props: {
  readonly name: string;
  readonly value: string;
  readonly of: readonly string[];
}) {
  const options =
    props.of.includes(props.value) || props.value === "" ? props.of : [...props.of, props.value];
  return (
    <select
      aria-label={props.name}
      value={props.value}
      onChange={(event) => setQuery({ [props.name]: event.currentTarget.value })}
    >
      <option value="">any {props.name}</option>
      {options.map((option) => (
        <option key={option} value={option}>
          {option}
        </option>
      ))}
    </select>
  );
}

function Nothing({ query }: { readonly query: Query }) {
  const { text } = query;
  return (
    <Empty>
      Nothing that this page has read is like that.{" "}
      {isTaskId(text) ? (
        <>
          If it is an id: <a href={linkTo("tasks", text)}>look in the store for {text}</a>, or ask{" "}
          <a href={linkTo("why", "task", text)}>why</a>.
        </>
      ) : null}
    </Empty>
  );
}

function Older(props: { readonly view: MeshView; readonly shown: number; readonly all: number }) {
  const { view, shown, all } = props;
  const { more, reading } = view.past.value;
  const full = view.tasks.size >= ROWS_MAX;
  return (
    <p class="hint">
      {all > shown ? `The newest ${number(shown)} are shown. ` : ""}
      {full ? `A page keeps ${number(ROWS_MAX)} tasks; look for an older one by its id. ` : ""}
      {more && !full ? (
        <button type="button" disabled={reading} onClick={() => void view.readOlder()}>
          {reading ? "Reading …" : "Read older ones"}
        </button>
      ) : null}
      {more || full
        ? ""
        : "This is everything since yesterday. A task that waits has no record: ask why."}
    </p>
  );
}
