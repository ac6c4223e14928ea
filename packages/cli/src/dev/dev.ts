/** `swarmctl dev`: a whole mesh on this machine, until Ctrl-C. */
import { aborted, systemClock } from "@swarm-mesh/runtime";
import type { Call } from "../call.ts";
import { Exit } from "../exit.ts";
import { painter } from "../output.ts";
import { stopWithParent } from "../parent.ts";
import { DevMesh, OWN_NAME } from "./dev-mesh.ts";
import { clearLeftovers } from "./leftovers.ts";
import { linePrinter } from "./log-lines.ts";
import { nextSteps } from "./next-steps.ts";
import { type DevFlags, type DevOptions, devOptions, planProcesses, serverNames } from "./plan.ts";

export type { DevFlags } from "./plan.ts";

/** Runs a mesh until a signal comes, and ends with 0 when all of it ended; throws when it does not start. */
export async function devCommand(call: Call<DevFlags>): Promise<number> {
  if (call.flags.stopWithParent === true) stopWithParent();
  const options = devOptions(call.flags, call.io.cwd);
  const stop = new AbortController();
  const mesh = openMesh(options, call, stop.signal);
  const release = onSignals(mesh, stop);
  try {
    return await runMesh(mesh, { options, call, stop: stop.signal });
  } finally {
    release();
  }
}

interface Run {
  readonly options: DevOptions;
  readonly call: Call<DevFlags>;
  readonly stop: AbortSignal;
}

async function runMesh(mesh: DevMesh, { options, call, stop }: Run): Promise<number> {
  const { io } = call;
  const paint = painter(io.colour);
  const startedAt = systemClock.elapsed();
  await clearLeftovers(options.dir);
  try {
    const file = await mesh.start();
    const tookMs = systemClock.elapsed() - startedAt;
    const { dir, handles } = options;
    io.out(nextSteps({ file, dir, cwd: io.cwd, handles, tookMs, paint }));
    await aborted(stop);
  } catch (error) {
    // Being told to stop while starting is no failure.
    if (!stop.aborted) throw error;
  } finally {
    await mesh.stop();
  }
  io.out("stopped\n");
  return Exit.ok;
}

function openMesh(options: DevOptions, call: Call<DevFlags>, signal: AbortSignal): DevMesh {
  const { io } = call;
  const planned = planProcesses(options, { url: "", seedPath: () => "" }, {});
  const printer = linePrinter({
    names: [OWN_NAME, ...serverNames(options), ...planned.map(({ name }) => name)],
    paint: painter(io.colour),
    raw: options.jsonLogs,
    out: (text) => io.out(text),
  });
  return new DevMesh(options, {
    io,
    printer,
    // Raw lines are for programs: what we say ourselves is none of them.
    say: (text) => (options.jsonLogs ? io.err(`${text}\n`) : printer.print(OWN_NAME, text)),
    signal,
  });
}

/** The first signal ends everything in order, the second one at once. */
function onSignals(mesh: DevMesh, stop: AbortController): () => void {
  const onSignal = (): void => {
    if (stop.signal.aborted) {
      mesh.kill();
      process.exit(Exit.error);
    }
    stop.abort();
  };
  // Whatever else ends this process: nothing it started is left.
  const onExit = (): void => mesh.kill();
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, onSignal);
  process.on("exit", onExit);
  return () => {
    for (const signal of signals) process.off(signal, onSignal);
    process.off("exit", onExit);
  };
}
