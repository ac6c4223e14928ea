/** Who is there, how busy, and one node's whole story. */
import { EventList } from "./event-list.tsx";
import { type NodeView, totalsOf, viewsOf } from "./fleet.ts";
import { ago, clock, count, duration, number } from "./format.ts";
import type { MeshView } from "./mesh-view.ts";
import { NodeDetail } from "./node-detail.tsx";
import { goTo, linkTo, type Route, setQuery } from "./route.ts";
import { Badge, Bar, Empty, NodeLink, Panel, Table } from "./ui.tsx";

/** Rows and cells that are drawn; a filter finds the others. */
const ROWS_MAX = 200;
const CELLS_MAX = 2_000;

export function NodesPage({ view, at }: { readonly view: MeshView; readonly at: Route }) {
  view.version.value;
  const all = viewsOf(view.nodesInOrder(), view.nodeLeases, view.now.value);
  const [id] = at.rest;
  if (id !== undefined) {
    return <NodeDetail view={view} id={id} node={all.find(({ record }) => record.id === id)} />;
  }
  const wanted = at.query.get("q") ?? "";
  const found = all.filter((node) => matches(node, wanted));
  const totals = totalsOf(all);
  return (
    <div class="stack">
      <Panel
        title="Load"
        note={`${number(totals.alive)} alive, ${number(totals.used)} of ${count(totals.slots, "slot")} in use`}
      >
        <HeatMap view={view} nodes={all.filter(({ record }) => record.state !== "LEFT")} />
      </Panel>
      <Panel title="Nodes" note={`${number(found.length)} of ${number(all.length)}`}>
        <div class="filters">
          <input
            type="search"
            aria-label="Find a node"
            placeholder="id, state, capability, label, host  ( / )"
            value={wanted}
            onInput={(event) => setQuery({ q: event.currentTarget.value })}
          />
        </div>
        {found.length === 0 ? (
          <Empty>{all.length === 0 ? "No node has joined yet." : "No node is like that."}</Empty>
        ) : (
          <NodeTable view={view} nodes={found.slice(0, ROWS_MAX)} />
        )}
        {found.length > ROWS_MAX ? (
          <p class="hint">The first {ROWS_MAX} are shown; the search finds the others.</p>
        ) : null}
      </Panel>
      <Panel title="What happened last">
        <EventList
          view={view}
          events={view.events
            .filter(({ about }) => about === "node")
            .slice(-20)
            .reverse()}
        />
      </Panel>
    </div>
  );
}

function matches({ record, shown }: NodeView, wanted: string): boolean {
  const labels = Object.entries(record.labels).map(([name, value]) => `${name}=${value}`);
  const hay = [record.id, shown, record.host, ...record.capabilities, ...labels]
    .join(" ")
    .toLowerCase();
  return wanted
    .toLowerCase()
    .split(/\s+/)
    .every((word) => hay.includes(word));
}

function HeatMap(props: { readonly view: MeshView; readonly nodes: readonly NodeView[] }) {
  const { view, nodes } = props;
  if (nodes.length === 0) return <Empty>No node has joined yet.</Empty>;
  return (
    <>
      <ul class={`heat ${nodes.length > 60 ? "dense" : ""}`}>
        {nodes.slice(0, CELLS_MAX).map(({ record, shown, alive, load, lease }) => {
          const held = alive && view.cordoned.has(record.id);
          const words = `${shown}${held ? ", cordoned" : ""}`;
          const slots = alive ? `${lease?.running ?? 0}/${record.slots}` : shown;
          return (
            <li key={record.id}>
              <a
                class={`cell ${alive ? shown.toLowerCase() : "gone"} ${held ? "held" : ""}`}
                style={{ "--load": String(Math.round(load * 100)) }}
                href={linkTo("nodes", record.id)}
                title={`${record.id} ${slots} ${words}`}
              >
                <span>{record.id}</span> <small>{slots}</small>
                {alive ? <span class="hidden">slots, {words}</span> : null}
              </a>
            </li>
          );
        })}
      </ul>
      {nodes.length > CELLS_MAX ? <p class="hint">The first {CELLS_MAX} are drawn.</p> : null}
      <p class="scale" aria-hidden="true">
        idle <span /> full · <i /> not alive · <i class="held" /> given nothing new
      </p>
    </>
  );
}

function NodeTable({
  view,
  nodes,
}: {
  readonly view: MeshView;
  readonly nodes: readonly NodeView[];
}) {
  const wall = view.wall.value;
  return (
    <Table
      label="Nodes"
      head={[
        "Node",
        "State",
        "Slots",
        "Lease ends in",
        "Round trip",
        "Lag",
        "Capabilities",
        "Since",
      ]}
    >
      {nodes.map(({ record, shown, lease, leaseLeftMs, load }) => (
        <tr
          key={record.id}
          data-node={record.id}
          data-state={shown}
          onClick={() => goTo("nodes", record.id)}
        >
          <td>
            <NodeLink id={record.id} />
          </td>
          <td>
            <Badge of={shown} />
            {view.cordoned.has(record.id) ? <Badge of="cordoned" /> : null}
          </td>
          <td class="slots">
            <Bar share={load} />
            {lease === undefined ? "–" : `${lease.running}/${record.slots}`}
          </td>
          <td class="num">{lease === undefined ? "–" : `${(leaseLeftMs / 1_000).toFixed(1)} s`}</td>
          <td class="num">{duration(lease?.rttMs)}</td>
          <td class="num">{duration(lease?.lagMs)}</td>
          <td class="cut" title={record.capabilities.join(", ")}>
            {record.capabilities.join(", ")}
          </td>
          <td title={clock(record.updatedAt, wall)}>{ago(record.updatedAt, wall)}</td>
        </tr>
      ))}
    </Table>
  );
}
