/** The worker's end of the channel: it is opened once, then does what it is told, until told no more. */
import { systemClock } from "@swarm-mesh/runtime";

/** What a worker can be told to do. Arguments and answers cross a process border as JSON. */
export type Methods = Readonly<Record<string, (argument: never) => unknown>>;

/** From the bench to a worker. The first one is `open`. */
export interface WorkerCall {
  readonly id: number;
  readonly method: string;
  readonly argument: unknown;
}

/** From a worker to the bench: the answer to the call of that id. */
export type WorkerAnswer =
  | { readonly id: number; readonly ok: true; readonly value: unknown }
  | { readonly id: number; readonly ok: false; readonly message: string };

/** From a worker to the bench, unasked: what just happened there. */
export interface WorkerEvent {
  readonly event: string;
}

/** Tells the bench that something happened. */
export function tellParent(event: string): void {
  const told: WorkerEvent = { event };
  process.send?.(told, undefined, {}, () => undefined);
}

/** Longer than a worker takes to close a connection; then it ends by itself. */
const CLOSE_MAX_MS = 3_000;

/**
 * Serves the process that forked this one. `open` is called with the set-up and returns the methods;
 * one of them may be `close`. Ends the process when the parent is gone or says so.
 */
export function serveParent<Setup>(open: (setup: Setup) => Promise<Methods>): void {
  let methods: Methods = {};
  const answer = async ({ id, method, argument }: WorkerCall): Promise<void> => {
    let reply: WorkerAnswer;
    try {
      if (method === "open") methods = await open(argument as Setup);
      const call = method === "open" ? () => undefined : methods[method];
      if (call === undefined) throw new Error(`no method ${method}`);
      reply = { id, ok: true, value: (await call(argument as never)) ?? null };
    } catch (error) {
      reply = { id, ok: false, message: error instanceof Error ? messageOf(error) : String(error) };
    }
    process.send?.(reply, undefined, {}, () => undefined);
  };
  process.on("message", (call) => void answer(call as WorkerCall));
  process.once("disconnect", () => {
    void systemClock.sleep(CLOSE_MAX_MS).then(() => process.exit(1));
    void Promise.resolve(methods["close"]?.(undefined as never)).finally(() => process.exit(0));
  });
}

function messageOf(error: Error): string {
  return error.stack ?? error.message;
}
