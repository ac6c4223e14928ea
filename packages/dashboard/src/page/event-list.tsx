/** Node and leader events, one a line. */
import type { EventRow } from "./events.ts";
import { clock } from "./format.ts";
import type { MeshView } from "./mesh-view.ts";
import { Badge, Empty, NodeLink } from "./ui.tsx";

export function EventList(props: {
  readonly view: MeshView;
  readonly events: readonly EventRow[];
}) {
  const { view, events } = props;
  if (events.length === 0) return <Empty>Nothing has happened yet.</Empty>;
  return (
    <ol class="events">
      {events.map((event) => (
        <li key={event.seq}>
          <time dateTime={event.at}>{clock(event.at, view.wall.value)}</time>
          <span class="what">
            {event.about === "node" ? <OfNode {...event} /> : <OfLeader {...event} />}
          </span>
        </li>
      ))}
    </ol>
  );
}

function OfNode({ node, to, reason, by }: Extract<EventRow, { about: "node" }>) {
  return (
    <>
      <NodeLink id={node} /> <Badge of={to} />{" "}
      <span class="muted" title={`said ${by}`}>
        {reason}
      </span>
    </>
  );
}

function OfLeader({ service, instance, kind, epoch }: Extract<EventRow, { about: "leader" }>) {
  return (
    <>
      <span class="mono">{instance}</span> <Badge of={kind} />{" "}
      <span class="muted">
        {service}, epoch {epoch}
      </span>
    </>
  );
}
