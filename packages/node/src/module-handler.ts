/**
 * A JavaScript module as a handler, each task in a thread of its own.
 *
 * Code that computes without pause blocks its thread alone: the node goes on renewing its lease and
 * answering pings. A thread is used again for the next task; one that will not end is ended.
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type Clock, systemClock } from "@swarm-mesh/runtime";
import type { TaskHandler } from "./handler.ts";
import { ModuleLoadError, ModuleThread } from "./module-thread.ts";

export { ModuleLoadError } from "./module-thread.ts";

/** Makes a handler of an ES module whose default export is `async (payload, ctx) => result`. */
export function moduleHandler(file: string, options: { readonly clock?: Clock } = {}): TaskHandler {
  const url = pathToFileURL(resolve(file)).href;
  const clock = options.clock ?? systemClock;
  const idle: ModuleThread[] = [];
  const all = new Set<ModuleThread>();

  const start = (): ModuleThread => {
    const thread = new ModuleThread(file, url, clock);
    all.add(thread);
    return thread;
  };

  return {
    async open() {
      if (!/\.m?js$/.test(file)) throw new ModuleLoadError(`${file}: expected a .js or .mjs file`);
      if (!existsSync(resolve(file))) throw new ModuleLoadError(`${file}: no such file`);
      const thread = start();
      await thread.ready;
      idle.push(thread);
    },
    // No more threads than slots: the node gives no more tasks at a time.
    async run(context) {
      const thread = idle.pop() ?? start();
      try {
        return await thread.run(context);
      } finally {
        if (thread.ended) all.delete(thread);
        else idle.push(thread);
      }
    },
    async close() {
      await Promise.all([...all].map((thread) => thread.end()));
      all.clear();
      idle.length = 0;
    },
  };
}
