/** What a process started by `swarmctl dev` has to do with it. */

/** What a child says over the channel that `dev` gave it. */
export type ChildMessage = "ready";

/** Ends this process politely when the one that started it is gone, however that ended. */
export function stopWithParent(): void {
  if (process.send === undefined) return;
  process.once("disconnect", () => process.kill(process.pid, "SIGTERM"));
}

/** Says something to the process that started this one, if it listens. */
export function tellParent(message: ChildMessage): void {
  // A parent that is gone is noticed by `stopWithParent`.
  process.send?.(message, undefined, {}, () => undefined);
}
