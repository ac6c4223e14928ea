/** `swarmctl top`: the mesh as it is, live, or once. */
import { isoTime, systemClock, ticks } from "@swarm-mesh/runtime";
import type { Call } from "../call.ts";
import { CliError, Exit } from "../exit.ts";
import { choiceFlag } from "../flags.ts";
import { print } from "../output.ts";
import { type Session, withSession } from "../session.ts";
import { answerLines } from "../why/why.ts";
import { headLines, viewLines } from "./draw.ts";
import { Feed } from "./feed.ts";
import type { Picture } from "./picture.ts";
import { START, VIEWS, type View } from "./ui.ts";

export interface TopFlags {
  readonly once?: boolean;
  readonly view?: string;
}

/** Between two pictures, ms. */
const DRAW_MS = 500;
/** How often it is looked whether a first picture is complete, and for how long, ms. */
const POLL_MS = 100;
const FIRST_MAX_MS = 10_000;

/** Shows the screen at a terminal; elsewhere, or with `--once`, prints one picture. */
export async function showTop(call: Call<TopFlags>): Promise<void> {
  const { io, flags } = call;
  const view = flags.view === undefined ? undefined : choiceFlag("--view", flags.view, VIEWS);
  await withSession(call, "admin", async (session) => {
    const feed = new Feed(session, await session.manager());
    const stop = new AbortController();
    const running = feed.run(stop.signal);
    try {
      const once = flags.once === true || !io.terminal || session.format !== "table";
      await Promise.race([
        running,
        once ? showOnce(call, session, feed, view) : live(call, session, feed),
      ]);
    } finally {
      stop.abort();
      await running.catch(() => undefined); // Whatever it was is thrown above.
    }
  });
}

async function live(call: Call<TopFlags>, session: Session, feed: Feed): Promise<void> {
  // React takes a third of a second to load: nobody else waits for it.
  const { showScreen } = await import("./screen.ts");
  const props = () => ({
    picture: feed.picture(),
    clock: clockNow(),
    explain: (about: { readonly kind: "task" | "node" | "capability"; readonly id: string }) =>
      answerLines(session, about),
  });
  const signal = call.io.interrupted();
  await showScreen(props, signal, (inner) =>
    ticks({ clock: systemClock, everyMs: DRAW_MS, signal: inner }),
  );
}

async function showOnce(
  { io }: Call<TopFlags>,
  session: Session,
  feed: Feed,
  view: View | undefined,
): Promise<void> {
  const deadline = systemClock.elapsed() + FIRST_MAX_MS;
  while (!feed.complete) {
    if (systemClock.elapsed() > deadline) {
      throw new CliError(Exit.timeout, "unavailable", "the mesh could not be read in time");
    }
    await systemClock.sleep(POLL_MS);
  }
  const picture = feed.picture();
  print(io, session.format, picture, () => pictureText(picture, view));
}

/** A picture as text: one view, or all that matter. */
export function pictureText(picture: Picture, view: View | undefined): string {
  const [first] = headLines(picture, START, clockNow());
  const views: readonly View[] = view === undefined ? ["overview", "nodes"] : [view];
  const parts = views.map((one) => {
    const { head, lines } = viewLines(picture, one);
    return [...head, ...lines].map(({ text }) => `${text}\n`).join("");
  });
  return `${first?.text ?? ""}\n\n${parts.join("\n")}`;
}

function clockNow(): string {
  return `${isoTime(systemClock.now()).slice(11, 19)} UTC`;
}
