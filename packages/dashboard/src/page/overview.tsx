/** The mesh at a glance, and the last ten minutes of it. */
import { useMemo } from "preact/hooks";
import { Chart, type Series } from "./chart.tsx";
import { EventList } from "./event-list.tsx";
import { leaderAt, totalsOf, viewsOf } from "./fleet.ts";
import { type Flow, quantile, recentOf, type Second } from "./flow.ts";
import { count, duration, number, rate } from "./format.ts";
import type { MeshView } from "./mesh-view.ts";
import { linkTo } from "./route.ts";
import { SOUNDING_MS } from "./sounding.ts";
import { Bar, Empty, Panel } from "./ui.tsx";

/** The window of the figures, seconds. */
const WINDOW_S = 10;
const LATENCY_WINDOW_S = 60;
const EVENTS_SHOWN = 8;

export function OverviewPage({ view }: { readonly view: MeshView }) {
  view.version.value;
  return (
    <div class="grid">
      <Tiles view={view} />
      <Charts view={view} />
      <Backlog view={view} />
      <Panel title="What happened last" note={<a href={linkTo("leaders")}>all</a>}>
        <EventList view={view} events={view.events.slice(-EVENTS_SHOWN).reverse()} />
      </Panel>
      <p class="hint">
        Rates and latencies are of what this page has seen since it was opened, ten minutes of it at
        most.
      </p>
    </div>
  );
}

function Tiles({ view }: { readonly view: MeshView }) {
  const now = view.now.value;
  const totals = totalsOf(viewsOf(view.nodesInOrder(), view.nodeLeases, now));
  const leader = leaderAt(view.leaderLeases.get("coordinator"), now);
  const recent = recentOf(view.flow.seconds, WINDOW_S);
  const latency = recentOf(view.flow.seconds, LATENCY_WINDOW_S);
  const down = totals.failed + totals.silent;
  const depths = view.depths.value;
  return (
    <section class="tiles" aria-label="Now">
      <Tile
        name="Nodes alive"
        value={`${number(totals.alive)} of ${number(totals.expected)}`}
        note={down === 0 ? "none failed" : `${totals.failed} failed, ${totals.silent} silent`}
        tone={down === 0 ? "good" : "bad"}
        to="nodes"
      />
      <Tile
        name="Slots in use"
        value={`${number(totals.used)} of ${number(totals.slots)}`}
        note={`${Math.round((100 * totals.used) / Math.max(1, totals.slots))} % busy`}
        to="nodes"
      />
      <Tile
        name="Finished a second"
        value={rate(recent.finishedPerSecond)}
        note={`mean of ${WINDOW_S} s`}
        to="tasks"
      />
      <Tile
        name="Submit to result, p50"
        value={duration(latency.p50)}
        note={`p99 ${duration(latency.p99)}`}
        to="tasks"
      />
      <Tile
        name="Failed"
        value={`${(100 * latency.failedShare).toFixed(latency.failedShare === 0 ? 0 : 1)} %`}
        note={depths === undefined ? "of a minute" : count(depths.dead, "dead letter")}
        tone={latency.failedShare > 0 ? "bad" : "good"}
        to="dead"
      />
      <Tile
        name="Leader"
        value={leader?.instance ?? "none"}
        note={leader === undefined ? "nothing is placed" : `epoch ${leader.epoch || "new"}`}
        tone={leader === undefined ? "bad" : "good"}
        to="leaders"
      />
    </section>
  );
}

function Tile(props: {
  readonly name: string;
  readonly value: string;
  readonly note: string;
  readonly to: string;
  readonly tone?: string;
}) {
  return (
    <a class={`tile ${props.tone ?? ""}`} href={linkTo(props.to)}>
      <span class="tile-name">{props.name}</span>
      <span class={`tile-value ${props.value.length > LONG_CHARS ? "long" : ""}`}>
        {props.value}
      </span>
      <span class="tile-note">{props.note}</span>
    </a>
  );
}

/** A value that is longer is set smaller. */
const LONG_CHARS = 10;

function Charts({ view }: { readonly view: MeshView }) {
  const at = view.second.value;
  const { flow } = view;
  const drawn = useMemo(() => drawnFrom(flow.seconds), [at]);
  const { times } = drawn;
  return (
    <>
      <Panel title="Throughput" note={<Legend series={drawn.throughput} unit={perSecond} />}>
        <Chart {...{ times, series: drawn.throughput, unit: rate }} label="tasks a second" />
        <Sampled flow={flow} />
      </Panel>
      <Panel
        title="Latency, submit to result"
        note={<Legend series={drawn.latency} unit={duration} />}
      >
        <Chart {...{ times, series: drawn.latency, unit: duration }} label="submit to result" />
      </Panel>
      <Panel title="Errors and moves" note={<Legend series={drawn.errors} unit={perSecond} />}>
        <Chart {...{ times, series: drawn.errors, unit: rate }} label="errors a second" />
      </Panel>
      <Panel
        title="Depth of the queues"
        note={
          <>
            <Legend series={drawn.depth} unit={number} /> · asked every {SOUNDING_MS / 1_000} s
          </>
        }
      >
        <Chart {...{ times, series: drawn.depth, unit: number }} label="tasks in the streams" />
      </Panel>
    </>
  );
}

function perSecond(value: number): string {
  return `${rate(value)}/s`;
}

/** Names, colours and newest values; the chart itself has no words. */
function Legend(props: {
  readonly series: readonly Series[];
  readonly unit: (value: number) => string;
}) {
  return (
    <span class="legend">
      {props.series.map(({ label, colour, values }) => {
        const last = values.findLast((value) => value !== null);
        return (
          <span key={label} class={`key ${colour}`}>
            {label} <b>{last === undefined || last === null ? "–" : props.unit(last)}</b>
          </span>
        );
      })}
    </span>
  );
}

function Sampled({ flow }: { readonly flow: Flow }) {
  if (flow.stride === 1) return null;
  return (
    <p class="hint">
      So much is happening that one task in {flow.stride} is read; rates are scaled from those.
    </p>
  );
}

interface Drawn {
  readonly times: readonly number[];
  readonly throughput: readonly Series[];
  readonly latency: readonly Series[];
  readonly errors: readonly Series[];
  readonly depth: readonly Series[];
}

/** The whole seconds as lines; what was not watched is a gap. */
function drawnFrom(all: readonly Second[]): Drawn {
  const seconds = all.slice(0, -1);
  const line = (of: (second: Second) => number | null | undefined): (number | null)[] =>
    seconds.map((second) => (second.connected ? (of(second) ?? null) : null));
  let depth: number | null = null;
  return {
    times: seconds.map(({ at }) => at),
    throughput: [
      { label: "finished", colour: "accent", filled: true, values: line((s) => s.succeeded) },
      { label: "started", colour: "violet", values: line((s) => s.started) },
    ],
    latency: [
      {
        label: "p50",
        colour: "accent",
        dotted: true,
        values: line((s) => quantile(s.latencies, 0.5)),
      },
      {
        label: "p99",
        colour: "warn",
        dotted: true,
        values: line((s) => quantile(s.latencies, 0.99)),
      },
    ],
    errors: [
      { label: "failed", colour: "bad", filled: true, values: line((s) => s.failed) },
      { label: "moved", colour: "warn", values: line((s) => s.moved) },
      { label: "cancelled", colour: "muted", values: line((s) => s.cancelled) },
    ],
    depth: [
      {
        label: "waiting and running",
        colour: "violet",
        filled: true,
        // Between two answers the last one stands.
        values: line((s) => {
          depth = s.depth ?? depth;
          return depth;
        }),
      },
    ],
  };
}

function Backlog({ view }: { readonly view: MeshView }) {
  const lanes = view.depths.value?.lanes ?? [];
  const most = Math.max(1, ...lanes.map(({ stored }) => stored));
  return (
    <Panel title="Stored by capability and lane" note="waiting and running">
      {lanes.length === 0 ? (
        <Empty>Nothing waits and nothing runs.</Empty>
      ) : (
        <ul class="bars">
          {lanes.slice(0, LANES_SHOWN).map(({ capability, lane, stored }) => (
            <li key={`${capability} ${lane}`}>
              <a class="mono" href={linkTo("why", "capability", capability)}>
                {capability}
              </a>
              <span class="muted">{view.paused.has(capability) ? "paused" : lane}</span>
              <Bar share={stored / most} />
              <b>{number(stored)}</b>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

const LANES_SHOWN = 10;
