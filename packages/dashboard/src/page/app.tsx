/** The frame around every page: navigation, connection, keys. */
import { useEffect, useRef } from "preact/hooks";
import { Banner, Connection, truthOf } from "./connection.tsx";
import { DeadPage } from "./dead.tsx";
import { Help, onKey } from "./keyboard.tsx";
import { LeadersPage } from "./leaders.tsx";
import type { MeshView } from "./mesh-view.ts";
import { NodesPage } from "./nodes.tsx";
import { OverviewPage } from "./overview.tsx";
import { linkTo, PAGES, type Route, route } from "./route.ts";
import { leave } from "./session.ts";
import { TasksPage } from "./tasks.tsx";
import { nextTheme, theme } from "./theme.ts";
import { WhyPage } from "./why.tsx";

export function App({ view }: { readonly view: MeshView }) {
  const main = useRef<HTMLElement>(null);
  const { page } = route.value;
  const title = PAGES.find(([name]) => name === page)?.[1] ?? "";
  useEffect(() => {
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  useEffect(() => {
    document.title = `${title} · Swarm Mesh`;
    // On a phone the navigation is wider than the screen.
    const current = document.querySelector("nav a[aria-current]");
    current?.scrollIntoView({ inline: "nearest", block: "nearest" });
    scrollTo(0, 0);
  }, [title]);
  const truth = truthOf(view);
  const old = truth === "stale" || truth === "disconnected" || truth === "refused";
  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to content
      </button>
      <header class="top">
        <a class="brand" href={linkTo("overview")}>
          <img src={ICON} alt="" width="24" height="24" />
          Swarm Mesh
        </a>
        <nav aria-label="Pages">
          {PAGES.map(([name, label]) => (
            <a key={name} href={linkTo(name)} aria-current={name === page ? "page" : undefined}>
              {label}
            </a>
          ))}
        </nav>
        <Connection view={view} />
        <div class="tools">
          <button type="button" onClick={nextTheme} title="Theme: system, light, dark">
            {theme.value.chosen === "system" ? "Auto" : THEMES[theme.value.chosen]}
          </button>
          <button type="button" onClick={leave} title="Forget the key in this tab">
            {view.link.user}
            <span class="hidden">, leave</span>
          </button>
        </div>
      </header>
      <Banner view={view} />
      <main id="main" ref={main} tabIndex={-1} class={old ? "old" : ""}>
        <h1 class="hidden">{title}</h1>
        <Page view={view} at={route.value} />
      </main>
      <Help />
    </>
  );
}

const ICON = new URL("./icon.svg", import.meta.url).href;
const THEMES = { light: "Light", dark: "Dark" } as const;

function Page({ view, at }: { readonly view: MeshView; readonly at: Route }) {
  switch (at.page) {
    case "nodes":
      return <NodesPage view={view} at={at} />;
    case "tasks":
      return <TasksPage view={view} at={at} />;
    case "leaders":
      return <LeadersPage view={view} />;
    case "dead":
      return <DeadPage view={view} at={at} />;
    case "why":
      return <WhyPage view={view} at={at} />;
    default:
      return <OverviewPage view={view} />;
  }
}
