/**
 * Loaded before everything else into a process whose clock is to jump (`node --import`).
 *
 * The file that FAULTS_CLOCK names holds by how many milliseconds the wall clock is wrong; a change
 * of the file is a jump. `performance.now()` and timers go on as they are, as the kernel's monotonic
 * clock does.
 */
import { readFileSync, watch } from "node:fs";

const file = process.env["FAULTS_CLOCK"];
if (file !== undefined) {
  const RealDate = globalThis.Date;
  let offsetMs = readOffset(file) ?? 0;
  const now = (): number => RealDate.now() + offsetMs;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
    apply: () => new RealDate(now()).toString(),
    get: (target, key) => (key === "now" ? now : Reflect.get(target, key)),
  });
  watch(file, { persistent: false }, () => {
    offsetMs = readOffset(file) ?? offsetMs;
  });
}

/** `undefined`: the file is being written right now, or gone. */
function readOffset(path: string): number | undefined {
  try {
    const text = readFileSync(path, "utf8");
    return text === "" ? undefined : Number(text);
  } catch {
    return undefined;
  }
}
