/** A module as a user would write one. */
export default async (payload, ctx) => {
  switch (payload.do) {
    case "sum":
      return payload.numbers.reduce((sum, value) => sum + value, 0);
    case "env":
      return process.env[payload.name];
    case "spin": {
      ctx.progress("spinning");
      for (;;);
    }
    case "steps":
      ctx.log.info({ step: 1 }, "one step done");
      ctx.progress({ done: 1 });
      await ctx.checkpoint({ step: 1, before: ctx.savedValue() });
      return { id: ctx.id, attempt: ctx.attempt, saved: ctx.savedValue() };
    case "wait":
      return new Promise((_, reject) => {
        ctx.signal.addEventListener("abort", () => reject(ctx.signal.reason), { once: true });
      });
    case "large":
      return ctx.checkpoint("x".repeat(600_000));
    case "final":
      throw Object.assign(new Error("never"), { retryable: false, code: "no_such_user" });
    case "named": {
      const error = new Error("named");
      error.name = "FinalError";
      throw error;
    }
    case "closure":
      return () => 1;
    case "exit":
      return process.exit(3);
    case "uncaught":
      queueMicrotask(() => {
        throw new Error("from nowhere");
      });
      return new Promise(() => {});
    default:
      throw new Error(`cannot ${payload.do}`);
  }
};
