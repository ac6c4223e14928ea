/** A button that changes the mesh: says what it will do, asks, and says what came of it. */
import { useState } from "preact/hooks";

export function Act(props: {
  readonly label: string;
  /** What happens, asked before it does. */
  readonly question: string;
  /** Can it be done at present? What came of it stays to be read when it no longer can. */
  readonly possible: boolean;
  /** Resolves with a sentence of what came of it. */
  readonly run: () => Promise<string>;
}) {
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const [said, setSaid] = useState<{ readonly text: string; readonly bad: boolean }>();
  const act = async (): Promise<void> => {
    setBusy(true);
    setAsking(false);
    try {
      setSaid({ text: await props.run(), bad: false });
    } catch (error) {
      setSaid({ text: error instanceof Error ? error.message : String(error), bad: true });
    } finally {
      setBusy(false);
    }
  };
  return (
    <div class="act">
      {asking && props.possible ? (
        <p role="alertdialog" aria-label={props.label}>
          {props.question}{" "}
          <button type="button" class="danger" onClick={() => void act()}>
            {props.label}
          </button>{" "}
          <button type="button" onClick={() => setAsking(false)}>
            No
          </button>
        </p>
      ) : (
        <button type="button" disabled={busy || !props.possible} onClick={() => setAsking(true)}>
          {props.label} …
        </button>
      )}
      <span role="status" class={said?.bad === true ? "problem" : "muted"}>
        {said?.text ?? ""}
      </span>
    </div>
  );
}
