import "./policy.ts";
import { render } from "preact";
import { App } from "./app.tsx";
import { Link } from "./link.ts";
import { Login } from "./login.tsx";
import { MeshView } from "./mesh-view.ts";
import { startSession } from "./session.ts";

async function start(): Promise<void> {
  const root = document.getElementById("app");
  if (root === null) return;
  const { websocket, credentials, problem } = await startSession();
  if (credentials === undefined) {
    render(<Login websocket={websocket} problem={problem} />, root);
    return;
  }
  const view = new MeshView(new Link(credentials));
  view.run();
  render(<App view={view} />, root);
}

void start().catch((error: unknown) => {
  const text = error instanceof Error ? error.message : String(error);
  document.body.append(`The dashboard did not start: ${text}`);
});
