/** For a page that was not opened by a link with a key: everyone brings his own. */
import { useState } from "preact/hooks";
import { keep } from "./session.ts";

const USERS = ["viewer", "admin"] as const;

export function Login(props: { readonly websocket: string; readonly problem: string | undefined }) {
  const [problem, setProblem] = useState(props.problem);
  const [user, setUser] = useState<string>("viewer");
  const [seed, setSeed] = useState("");
  const open = (event: Event): void => {
    event.preventDefault();
    if (!/^SU[A-Z2-7]{56}$/.test(seed.trim())) {
      setProblem("A seed is 58 characters and begins with SU; it is the line in keys/viewer.nk.");
      return;
    }
    keep({ user, seed: seed.trim() });
    location.reload();
  };
  const load = async (file: File | undefined): Promise<void> => {
    if (file === undefined) return;
    setSeed((await file.text()).trim());
    const named = USERS.find((name) => file.name.startsWith(name));
    if (named !== undefined) setUser(named);
  };
  return (
    <main class="login">
      <h1>Swarm Mesh</h1>
      <p>
        This page talks to <code>{props.websocket}</code> as you. <code>swarmctl dashboard</code>{" "}
        prints a link that brings the key along; or use a seed of your own. It stays in this tab,
        and goes when the tab is closed.
      </p>
      {problem === undefined ? null : (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <form onSubmit={open}>
        <label>
          Key file
          <input
            type="file"
            accept=".nk"
            onChange={(event) => void load(event.currentTarget.files?.[0])}
          />
        </label>
        <label>
          or its seed
          <input
            type="password"
            autocomplete="off"
            value={seed}
            onInput={(event) => setSeed(event.currentTarget.value)}
          />
        </label>
        <label>
          of the user
          <select value={user} onChange={(event) => setUser(event.currentTarget.value)}>
            {USERS.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <button type="submit" class="primary">
          Open
        </button>
      </form>
    </main>
  );
}
