/** Who leads, who led, and what happened when it changed. */
import { timeOf } from "@swarm-mesh/runtime";
import { EventList } from "./event-list.tsx";
import { type Term, termsOf } from "./events.ts";
import { leaderAt } from "./fleet.ts";
import { ago, clock, duration, span } from "./format.ts";
import type { MeshView } from "./mesh-view.ts";
import { Badge, Empty, Pairs, Panel, Table } from "./ui.tsx";

const EVENTS_SHOWN = 100;

export function LeadersPage({ view }: { readonly view: MeshView }) {
  view.version.value;
  const terms = termsOf(view.events);
  return (
    <div class="stack">
      {[...view.leaderLeases.keys()].sort().map((service) => (
        <Holder key={service} view={view} service={service} terms={terms} />
      ))}
      {view.leaderLeases.size === 0 ? (
        <Panel title="Leader">
          <p class="problem" data-leader="none">
            Nobody holds a leader's lease: nothing is placed until someone does.
          </p>
        </Panel>
      ) : null}
      <Panel title="Terms" note="of the last seven days, as far as events are kept here">
        {terms.length === 0 ? (
          <Empty>No leader was elected yet.</Empty>
        ) : (
          <Terms view={view} terms={terms} />
        )}
      </Panel>
      <Panel title="Failovers and failures">
        <EventList
          view={view}
          events={view.events
            .filter(
              (event) =>
                event.about === "leader" || event.to === "FAILED" || event.to === "DEGRADED",
            )
            .slice(-EVENTS_SHOWN)
            .reverse()}
        />
      </Panel>
    </div>
  );
}

function Holder(props: {
  readonly view: MeshView;
  readonly service: string;
  readonly terms: readonly Term[];
}) {
  const { view, service, terms } = props;
  const heard = view.leaderLeases.get(service);
  const lease = leaderAt(heard, view.now.value);
  const term = terms.find((one) => one.service === service && one.until === undefined);
  if (heard === undefined || lease === undefined) {
    return (
      <Panel title={service} note={<Badge of="SILENT" />}>
        <p class="problem" data-leader="none">
          Its lease is over: nobody is known to lead.
        </p>
      </Panel>
    );
  }
  const epoch = lease.epoch === 0 ? (term?.epoch ?? heard.revision) : lease.epoch;
  return (
    <Panel title={service} note={<Badge of="leads" />}>
      <Pairs
        rows={[
          [
            "leads",
            <b key="leads" class="mono" data-leader={lease.instance}>
              {lease.instance}
            </b>,
          ],
          ["epoch", String(epoch)],
          [
            "since",
            term === undefined
              ? "–"
              : `${clock(term.from, view.wall.value)} (${ago(term.from, view.wall.value)})`,
          ],
          ["process", `${lease.pid} on ${lease.host}`],
          [
            "lease",
            `ends in ${((heard.endsAt - view.now.value) / 1_000).toFixed(1)} s unless it is renewed`,
          ],
        ]}
      />
    </Panel>
  );
}

function Terms({ view, terms }: { readonly view: MeshView; readonly terms: readonly Term[] }) {
  const wall = view.wall.value;
  return (
    <Table
      label="Terms"
      head={["Epoch", "Instance", "Service", "From", "Led for", "Ended", "Nobody led before"]}
    >
      {terms.map((term, index) => {
        const before = terms.slice(index + 1).find(({ service }) => service === term.service);
        const until = term.until === undefined ? wall : timeOf(term.until);
        return (
          <tr key={`${term.service} ${term.epoch}`}>
            <td class="num">{term.epoch}</td>
            <td class="mono">{term.instance}</td>
            <td>{term.service}</td>
            <td>{clock(term.from, wall)}</td>
            <td class="num">{span(until - timeOf(term.from))}</td>
            <td>{term.ended === undefined ? "leads" : <Badge of={term.ended} />}</td>
            <td class="num">{gapOf(before, term)}</td>
          </tr>
        );
      })}
    </Table>
  );
}

/** Known when the one before said that it stopped; a killed leader says nothing. */
function gapOf(before: Term | undefined, term: Term): string {
  if (before?.until === undefined || before.ended === "replaced") return "not known";
  return duration(Math.max(0, timeOf(term.from) - timeOf(before.until)));
}
