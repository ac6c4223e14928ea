/** The proxy against a plain TCP server that sends back what it hears. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { test as base, expect } from "vitest";
import { FaultyLink } from "../src/faulty-link.ts";

interface Rig {
  readonly link: FaultyLink;
  /** A connection through the link, and all that came back on it. */
  readonly open: () => Client;
  /** The server's ends, in the order they were accepted. */
  readonly accepted: readonly Socket[];
}

interface Client {
  readonly socket: Socket;
  /** Resolves when `text` has come back as a whole. */
  readonly heard: (text: string) => Promise<void>;
  readonly text: () => string;
  /** Resolves with the error's code when the connection is reset. */
  readonly reset: Promise<string>;
}

const test = base.extend<{ rig: Rig }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
  rig: async ({}, use) => {
    const accepted: Socket[] = [];
    const server = createServer((socket) => {
      accepted.push(socket);
      socket.on("error", () => undefined);
      socket.pipe(socket);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const link = await FaultyLink.open({ host: "127.0.0.1", port });
    const sockets: Socket[] = [];
    const open = (): Client => {
      const client = clientOf(Number(new URL(link.url).port));
      sockets.push(client.socket);
      return client;
    };
    await use({ link, open, accepted });
    for (const socket of [...sockets, ...accepted]) socket.destroy();
    await link.close();
    server.close();
  },
});

function clientOf(port: number): Client {
  const socket = connect({ host: "127.0.0.1", port, noDelay: true });
  let text = "";
  let onData: () => void = () => undefined;
  socket.on("data", (chunk) => {
    text += chunk.toString();
    onData();
  });
  const reset = new Promise<string>((resolve) => {
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
  const heard = async (wanted: string): Promise<void> => {
    while (!text.includes(wanted)) {
      await new Promise<void>((resolve) => {
        onData = resolve;
      });
    }
  };
  return { socket, heard, text: () => text, reset };
}

/** Resolves when a socket is closed, by a reset too. */
function closeOf(socket: Socket | undefined): Promise<void> {
  return new Promise((resolve) => socket?.once("close", () => resolve()));
}

/** Long enough that what could arrive would have: on this machine bytes take well under 1 ms. */
const SILENCE_MS = 150;

test("a link passes everything on, in both directions", async ({ rig }) => {
  const client = rig.open();
  client.socket.write("hello");
  await client.heard("hello");
  client.socket.end("bye");
  await client.heard("bye");
  await once(client.socket, "close");
  expect(client.text()).toBe("hellobye");
});

test("a link with latency delivers later, and in order", async ({ rig }) => {
  const client = rig.open();
  client.socket.write("0");
  await client.heard("0");
  rig.link.set({ kind: "latency", ms: 60 });
  const sent = performance.now();
  client.socket.write("1");
  await sleep(10);
  client.socket.write("2");
  await client.heard("12");
  // There and back; timers may be early by a millisecond.
  expect(performance.now() - sent).toBeGreaterThanOrEqual(118);
  client.socket.write("3");
  await sleep(5);
  rig.link.set({ kind: "clear" });
  client.socket.write("4");
  await client.heard("01234");
  expect(client.text()).toBe("01234");
});

test("a link that stalls loses nothing, and goes on as the same connection", async ({ rig }) => {
  const client = rig.open();
  client.socket.write("a");
  await client.heard("a");
  rig.link.set({ kind: "stall" });
  client.socket.write("b");
  await sleep(SILENCE_MS);
  expect(client.text()).toBe("a");
  rig.link.set({ kind: "clear" });
  await client.heard("ab");
  expect(rig.accepted).toHaveLength(1);
});

test("a link that is half-open swallows everything, and is reset when it is healed", async ({
  rig,
}) => {
  const client = rig.open();
  client.socket.write("a");
  await client.heard("a");
  rig.link.set({ kind: "half-open" });
  client.socket.write("b");
  rig.accepted[0]?.write("c");
  await sleep(SILENCE_MS);
  expect(client.text()).toBe("a");
  expect(client.socket.destroyed).toBe(false);
  const serverClosed = closeOf(rig.accepted[0]);
  rig.link.set({ kind: "clear" });
  expect(await client.reset).toBe("ECONNRESET");
  await serverClosed;
  const again = rig.open();
  again.socket.write("d");
  await again.heard("d");
});

test("a link that is half-open tells neither end that the other is gone", async ({ rig }) => {
  const client = rig.open();
  client.socket.write("a");
  await client.heard("a");
  rig.link.set({ kind: "half-open" });
  client.socket.destroy();
  await sleep(SILENCE_MS);
  const [end] = rig.accepted;
  expect(end?.closed).toBe(false);
  const serverClosed = closeOf(end);
  rig.link.set({ kind: "clear" });
  await serverClosed;
});

test("a link that was half-open while nobody spoke goes on", async ({ rig }) => {
  const client = rig.open();
  client.socket.write("a");
  await client.heard("a");
  rig.link.set({ kind: "half-open" });
  rig.link.set({ kind: "clear" });
  client.socket.write("b");
  await client.heard("ab");
});

test("a link that is silent accepts a new connection, and lets it wait", async ({ rig }) => {
  rig.link.set({ kind: "half-open" });
  const client = rig.open();
  await once(client.socket, "connect");
  client.socket.write("a");
  await sleep(SILENCE_MS);
  expect(client.text()).toBe("");
  expect(rig.accepted).toHaveLength(0);
  rig.link.set({ kind: "clear" });
  expect(await client.reset).toBe("ECONNRESET");
});

test("a link that is cut resets what is open and what is new", async ({ rig }) => {
  const client = rig.open();
  client.socket.write("a");
  await client.heard("a");
  rig.link.set({ kind: "cut" });
  expect(await client.reset).toBe("ECONNRESET");
  expect(await rig.open().reset).toBe("ECONNRESET");
  rig.link.set({ kind: "clear" });
  const again = rig.open();
  again.socket.write("b");
  await again.heard("b");
  expect(rig.link.connections).toBe(1);
});
