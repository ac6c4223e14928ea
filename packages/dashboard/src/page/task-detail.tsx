/** One task: its record as the store has it, and its story in order. */
import { isFinal, type TaskRecord } from "@swarm-mesh/protocol";
import { timeOf } from "@swarm-mesh/runtime";
import { useEffect, useState } from "preact/hooks";
import { Act } from "./act.tsx";
import { cancelTask } from "./actions.ts";
import { ago, clock, duration, pretty } from "./format.ts";
import type { MeshView } from "./mesh-view.ts";
import { readRecord } from "./reading.ts";
import { linkTo } from "./route.ts";
import { storyOf } from "./story.ts";
import { Badge, Code, Empty, NodeLink, Pairs, Panel } from "./ui.tsx";

export function TaskDetail({ view, id }: { readonly view: MeshView; readonly id: string }) {
  const [problem, setProblem] = useState("");
  const connected = view.link.phase.value === "connected";
  useEffect(() => {
    view.openId = id;
    view.open.value = undefined;
    return () => {
      view.openId = "";
    };
  }, [view, id]);
  // Read at first, and again when the link returns; in between each change is heard.
  useEffect(() => {
    if (!connected) return;
    readRecord(view.manager, id).then(
      (record) => {
        if (view.openId === id && record !== undefined) view.open.value = record;
        setProblem(record === undefined ? "none" : "");
      },
      (error: unknown) => setProblem(error instanceof Error ? error.message : String(error)),
    );
  }, [view, id, connected]);
  const record = view.open.value;
  return (
    <div class="stack">
      <nav class="crumbs" aria-label="Where this is">
        <a href={linkTo("tasks")}>Tasks</a> / <span class="mono">{id}</span>
      </nav>
      {record === undefined ? (
        <Unknown id={id} problem={problem} />
      ) : (
        <About view={view} record={record} />
      )}
    </div>
  );
}

function Unknown({ id, problem }: { readonly id: string; readonly problem: string }) {
  return (
    <Panel title={id}>
      <Empty>
        {problem === "" ? "Reading …" : null}
        {problem === "none" ? (
          <>
            It has no record: it waits for its first try, was never submitted, or ended more than a
            day ago. <a href={linkTo("why", "task", id)}>Why?</a>
          </>
        ) : (
          problem
        )}
      </Empty>
    </Panel>
  );
}

function About({ view, record }: { readonly view: MeshView; readonly record: TaskRecord }) {
  const wall = view.wall.value;
  const { id, error, startedAt, finishedAt, submittedAt } = record;
  const took = finishedAt === null ? undefined : timeOf(finishedAt) - timeOf(submittedAt);
  return (
    <>
      <Panel
        title={id}
        note={
          <>
            <Badge of={record.status} /> <a href={linkTo("why", "task", id)}>why?</a>
          </>
        }
      >
        {error === null ? null : (
          <p class="problem">
            <b>{error.code}</b>: {error.message}
          </p>
        )}
        <div class="columns">
          <Pairs
            rows={[
              ["capability", `${record.capability} (${record.lane})`],
              ["node", <NodeLink key="node" id={record.node} />],
              ["agent", record.agent ?? "–"],
              ["try", `${record.attempt}; at most ${record.maxAttempts} may fail`],
              ["epoch", String(record.epoch)],
              ["trace", record.trace ?? "–"],
            ]}
          />
          <Pairs
            rows={[
              ["submitted", `${clock(submittedAt, wall)} (${ago(submittedAt, wall)})`],
              ["last try began", startedAt === null ? "–" : clock(startedAt, wall)],
              ["finished", finishedAt === null ? "–" : clock(finishedAt, wall)],
              ["took", duration(took)],
              ["next try due", record.dueAt === null ? "–" : clock(record.dueAt, wall)],
            ]}
          />
        </div>
        {view.link.mayAct ? (
          <Act
            label="Cancel"
            possible={!isFinal(record.status)}
            question={`${id} is cancelled: it does not run, or is stopped where it runs.`}
            run={() => cancelTask(view, id)}
          />
        ) : null}
      </Panel>
      <Panel title="Timeline">
        <ol class="timeline">
          {storyOf(record).map((step) => (
            <li key={`${step.at} ${step.what}`} class={step.tone}>
              <time dateTime={step.at}>{clock(step.at, wall)}</time>
              <span class="after">+{duration(timeOf(step.at) - timeOf(submittedAt))}</span>
              <span class="what">
                {step.what} {step.node === undefined ? null : <NodeLink id={step.node} />}
                {step.detail === "" ? null : <span class="muted"> {step.detail}</span>}
              </span>
            </li>
          ))}
        </ol>
      </Panel>
      {record.result === undefined || record.result === null ? null : (
        <Panel title="Result">
          <Code label="Result" text={pretty(record.result)} />
        </Panel>
      )}
      {record.progress === undefined || record.progress === null ? null : (
        <Panel title="Progress">
          <Code label="Progress" text={pretty(record.progress)} />
        </Panel>
      )}
      <details class="panel">
        <summary>The record as it is stored</summary>
        <Code label="Record" text={pretty(record)} />
      </details>
    </>
  );
}
