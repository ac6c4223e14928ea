/** Tasks, one a row. */
import { timeOf } from "@swarm-mesh/runtime";
import { ago, clock, duration } from "./format.ts";
import type { MeshView } from "./mesh-view.ts";
import { goTo } from "./route.ts";
import type { TaskRow } from "./task-index.ts";
import { Badge, NodeLink, Table, TaskLink } from "./ui.tsx";

export function TaskTable(props: { readonly view: MeshView; readonly rows: readonly TaskRow[] }) {
  const wall = props.view.wall.value;
  return (
    <Table
      label="Tasks"
      head={["Task", "Status", "Capability", "Node", "Try", "Moves", "Submitted", "Took", "Error"]}
    >
      {props.rows.map((row) => (
        <tr
          key={row.id}
          data-task={row.id}
          data-status={row.status}
          onClick={() => goTo("tasks", row.id)}
        >
          <td>
            <TaskLink id={row.id} />
          </td>
          <td>
            <Badge of={row.status} />
          </td>
          <td>
            <span class="mono">{row.capability}</span>
            {row.lane === "normal" ? null : <span class="muted"> {row.lane}</span>}
          </td>
          <td>
            <NodeLink id={row.node} />
          </td>
          <td class="num">{row.attempt}</td>
          <td class="num">{row.moves === 0 ? "" : row.moves}</td>
          <td title={clock(row.submittedAt, wall)}>{ago(row.submittedAt, wall)}</td>
          <td class="num">{took(row)}</td>
          <td class="cut" title={row.error}>
            {row.error}
          </td>
        </tr>
      ))}
    </Table>
  );
}

function took({ submittedAt, finishedAt }: TaskRow): string {
  return finishedAt === null ? "" : duration(timeOf(finishedAt) - timeOf(submittedAt));
}
