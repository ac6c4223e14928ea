/** Whether what is shown is true: connected or not, and how old the newest word of the mesh is. */
import { useComputed } from "@preact/signals";
import { duration, span } from "./format.ts";
import { STALE_AFTER_MS } from "./link.ts";
import type { MeshView } from "./mesh-view.ts";

/** `live`, or what is wrong. */
export type Truth = "live" | "loading" | "stale" | "disconnected" | "refused";

export function truthOf(view: MeshView): Truth {
  const { phase, heardAt } = view.link;
  if (phase.value === "refused") return "refused";
  if (phase.value !== "connected") return heardAt.value === undefined ? "loading" : "disconnected";
  if (view.now.value - (heardAt.value ?? 0) > STALE_AFTER_MS) return "stale";
  return view.ready.value ? "live" : "loading";
}

const WORDS: Readonly<Record<Truth, string>> = {
  live: "Live",
  loading: "Connecting",
  stale: "Stale",
  disconnected: "Disconnected",
  refused: "Refused",
};

export function Connection({ view }: { readonly view: MeshView }) {
  const truth = useComputed(() => truthOf(view));
  const { heardAt, rttMs } = view.link;
  const age = heardAt.value === undefined ? undefined : view.now.value - heardAt.value;
  return (
    <div class={`connection ${truth.value}`} title={view.link.server.value}>
      <span class="dot" aria-hidden="true" />
      <strong role="status" data-testid="truth">
        {WORDS[truth.value]}
      </strong>
      <span class="age">
        {truth.value === "live"
          ? `${duration(rttMs.value)} away`
          : age === undefined
            ? ""
            : `heard ${span(age)} ago`}
      </span>
    </div>
  );
}

/** Says over the whole width that what is below is old. */
export function Banner({ view }: { readonly view: MeshView }) {
  const truth = truthOf(view);
  if (truth === "live" || truth === "loading") return null;
  if (truth === "refused") {
    return (
      <p class="banner" role="alert">
        The server refuses this key. Open a new link of <code>swarmctl dashboard</code>, or leave
        and use another key.
      </p>
    );
  }
  const { heardAt } = view.link;
  const age = view.now.value - (heardAt.value ?? view.now.value);
  const at = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" }).format(
    view.wall.value - age,
  );
  return (
    <p class="banner" role="alert" data-testid="banner">
      {truth === "stale" ? "The server does not answer." : "Not connected; trying again."} What is
      below is as of <strong>{at}</strong>, {span(age)} ago, and nothing of it is certain.
    </p>
  );
}
