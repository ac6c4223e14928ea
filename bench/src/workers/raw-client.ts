/** The client of the bare skeleton: stores a task, hears its result on one subscription. */
import { type LoadOrder, runLoad } from "./load.ts";
import { createStreams, openRaw, type RawSetup, RESULTS, TASKS } from "./raw-setup.ts";
import { serveParent } from "./serve.ts";

/** The serial number of a task, at the front of its payload. */
const SERIAL_CHARS = 10;

serveParent(async ({ url }: RawSetup) => {
  const { nc, requester } = await openRaw(url, "client");
  await createStreams(nc);
  const waiting = new Map<string, () => void>();
  let serial = 0;
  let done = 0;
  nc.subscribe(RESULTS.subject, {
    callback: (_error, message) => {
      const key = message.string().slice(0, SERIAL_CHARS);
      done++;
      waiting.get(key)?.();
      waiting.delete(key);
    },
  });
  await nc.flush();

  const once = (pad: string): Promise<void> => {
    const key = String(serial++).padStart(SERIAL_CHARS, "0");
    return new Promise((resolve, reject) => {
      waiting.set(key, resolve);
      requester.store(TASKS.subject, key + pad, (stored) => {
        if (stored.kind !== "stored") reject(new Error(`task not stored: ${stored.kind}`));
      });
    });
  };
  return {
    run: (order: LoadOrder) => {
      done = 0;
      const pad = "x".repeat(Math.max(0, order.payloadBytes - SERIAL_CHARS));
      return runLoad(order, () => once(pad));
    },
    countDone: () => done,
    close: () => nc.close(),
  };
});
