/** A node of the bare skeleton: stores a result for each task, then acknowledges it. */
import { jetstream } from "@nats-io/jetstream";
import { ASSIGN, createConsumer, openRaw, type RawSetup, RESULTS } from "./raw-setup.ts";
import { serveParent } from "./serve.ts";

/** As much as the client needs to know its task. */
const RESULT_BYTES = 10;

serveParent(async ({ url, index }: RawSetup & { readonly index: number }) => {
  const name = `node-${index}`;
  const { nc, requester } = await openRaw(url, name);
  const subject = `${ASSIGN.subject}.${index}`;
  await createConsumer(nc, { ...ASSIGN, subject }, name);
  const consumer = await jetstream(nc).consumers.get(ASSIGN.stream, name);
  await consumer.consume({
    max_messages: 500,
    callback: (message) => {
      const result = message.data.subarray(0, RESULT_BYTES);
      requester.store(RESULTS.subject, result, (stored) => {
        if (stored.kind === "stored") message.ack();
        else message.nak();
      });
    },
  });
  return { close: () => nc.close() };
});
