/** Tasks that do not end until they are told to: what a node holds when it is killed. */
import { tellParent } from "./serve.ts";

export class Holding {
  readonly #held = new Set<() => void>();

  /** Tells the bench that a task has started, and keeps it. Rejects when `signal` aborts. */
  keep(taskId: string, signal?: AbortSignal): Promise<string> {
    tellParent(taskId);
    return new Promise((resolve, reject) => {
      this.#held.add(() => resolve("released"));
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  }

  /** Lets all of them end. */
  release(): void {
    for (const end of this.#held) end();
    this.#held.clear();
  }
}
