/** Why a task, a node or a capability is as it is. */
import type { Route } from "./route.ts";
import { Code, Panel } from "./ui.tsx";

export function WhyPage({ at }: { readonly at: Route }) {
  const command = ["swarmctl", "why", ...at.rest].join(" ");
  return (
    <Panel title="Why" note="answered by the command line">
      <Code label="Command" text={command} />
    </Panel>
  );
}
