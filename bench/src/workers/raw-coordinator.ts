/** The coordinator of the bare skeleton: stores each task for a node, then acknowledges it. */
import { jetstream } from "@nats-io/jetstream";
import { ASSIGN, createConsumer, openRaw, type RawSetup, TASKS } from "./raw-setup.ts";
import { serveParent } from "./serve.ts";

const CONSUMER = "coordinator";

serveParent(async ({ url }: RawSetup) => {
  const { nc, requester } = await openRaw(url, "coordinator");
  let nodes = 1;
  let turn = 0;
  await createConsumer(nc, TASKS, CONSUMER);
  const consumer = await jetstream(nc).consumers.get(TASKS.stream, CONSUMER);
  await consumer.consume({
    max_messages: 500,
    callback: (message) => {
      turn = (turn + 1) % nodes;
      requester.store(`${ASSIGN.subject}.${turn}`, message.data, (stored) => {
        if (stored.kind === "stored") message.ack();
        else message.nak();
      });
    },
  });
  return {
    setNodes: (count: number) => {
      nodes = count;
    },
    close: () => nc.close(),
  };
});
