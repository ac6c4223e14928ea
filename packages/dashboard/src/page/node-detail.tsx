/** One node: what it says of itself, what the mesh says of it, what runs there. */

import { Act } from "./act.tsx";
import { drainNode } from "./actions.ts";
import { EventList } from "./event-list.tsx";
import type { NodeView } from "./fleet.ts";
import { ago, bytes, clock, count, duration } from "./format.ts";
import type { MeshView } from "./mesh-view.ts";
import { linkTo } from "./route.ts";
import { TaskTable } from "./task-table.tsx";
import { Badge, Empty, Pairs, Panel } from "./ui.tsx";

export function NodeDetail(props: {
  readonly view: MeshView;
  readonly id: string;
  readonly node: NodeView | undefined;
}) {
  const { view, id, node } = props;
  const events = view.events.filter((event) => event.about === "node" && event.node === id);
  const running = view.tasks.running().filter((row) => row.node === id);
  return (
    <div class="stack">
      <nav class="crumbs" aria-label="Where this is">
        <a href={linkTo("nodes")}>Nodes</a> / <span class="mono">{id}</span>
      </nav>
      {node === undefined ? (
        <Panel title={id}>
          <Empty>
            {view.ready.value ? "There is no record of such a node." : "Reading the nodes …"}
          </Empty>
        </Panel>
      ) : (
        <About view={view} node={node} />
      )}
      <Panel title="Runs here" note={count(running.length, "task")}>
        {running.length === 0 ? (
          <Empty>No task that this page knows of.</Empty>
        ) : (
          <TaskTable view={view} rows={running} />
        )}
      </Panel>
      <Panel title="Its events">
        <EventList view={view} events={events.reverse()} />
      </Panel>
    </div>
  );
}

function About({ view, node }: { readonly view: MeshView; readonly node: NodeView }) {
  const { record, shown, alive, lease, leaseLeftMs } = node;
  const wall = view.wall.value;
  const cordon = view.cordoned.get(record.id);
  const labels = Object.entries(record.labels).map(([name, value]) => `${name}=${value}`);
  return (
    <Panel
      title={record.id}
      note={
        <>
          <Badge of={shown} /> <a href={linkTo("why", "node", record.id)}>why?</a>
        </>
      }
    >
      {shown === "SILENT" ? (
        <p class="problem">
          Its record says {record.state}, but its lease is over: it is not known to be alive.
        </p>
      ) : null}
      {cordon === undefined ? null : (
        <p class="problem">
          It is cordoned, so it is given nothing new: {cordon.reason || "no reason was said"}
          {cordon.by === "" ? "" : ` (${cordon.by})`}.
        </p>
      )}
      <div class="columns">
        <Pairs
          rows={[
            [
              "state",
              `${record.state} since ${clock(record.updatedAt, wall)} (${ago(record.updatedAt, wall)})`,
            ],
            ["because", record.reason || "–"],
            [
              "lease",
              lease === undefined ? "none" : `ends in ${(leaseLeftMs / 1_000).toFixed(1)} s`,
            ],
            [
              "in use",
              lease === undefined ? "–" : `${lease.running} of ${count(record.slots, "slot")}`,
            ],
            ["round trip", duration(lease?.rttMs)],
            ["event loop lag", duration(lease?.lagMs)],
          ]}
        />
        <Pairs
          rows={[
            ["capabilities", record.capabilities.join(", ")],
            ["labels", labels.length === 0 ? "none" : labels.join(", ")],
            ["host", `${record.host}, ${count(record.cpu, "core")}, ${bytes(record.memoryBytes)}`],
            ["version", record.version || "–"],
            ["life", `${record.incarnation}, joined ${ago(record.joinedAt, wall)}`],
            ["agents", record.agents.map(({ name, slots }) => `${name} (${slots})`).join(", ")],
          ]}
        />
      </div>
      {view.link.mayAct ? (
        <Act
          label="Drain"
          possible={alive && record.state !== "LEAVING"}
          question={`${record.id} takes nothing new, finishes what it has within 30 s or hands it back, and leaves.`}
          run={() => drainNode(view, record.id)}
        />
      ) : null}
    </Panel>
  );
}
