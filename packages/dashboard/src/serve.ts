/**
 * Serves the page: static files, where the mesh's WebSocket is, and, on loopback alone, a key.
 *
 * It holds no state of the mesh and no connection to it: the page talks to nats-server itself.
 *
 *     GET  /             the page            GET /healthz      200 while this runs
 *     GET  /config.json  { websocket, key }  POST /key         { user, seed } for a secret, once
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, isIPv4 } from "node:net";
import { encode } from "@swarm-mesh/protocol";
import { type Asset, loadPage } from "./assets.ts";

/** What a page may be told to connect as. */
interface OfferedKey {
  /** The user's name: `viewer` or `admin`. */
  readonly user: string;
  /** The nkey seed. */
  readonly seed: string;
}

export interface DashboardOptions {
  /** Address to listen on. Anything but loopback is refused when there is a key to give. */
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  /** Where nats-server takes WebSockets, `ws://…` or `wss://…`; the page may connect nowhere else. */
  readonly websocket: string;
  /** Given to whoever opens a link of {@link RunningDashboard.link}; without it each brings his own. */
  readonly key?: OfferedKey | undefined;
  /** Told when a link was used, so that another can be shown. */
  readonly onUsed?: () => void;
}

export interface RunningDashboard {
  /** Where the page is, without any secret. */
  readonly url: string;
  /** A link that brings the key along; it works once. Without a key to give it is {@link url}. */
  link(): string;
  close(): Promise<void>;
}

/** A body with a secret is 100 bytes long. */
const BODY_MAX_BYTES = 1_024;
/** Links that may be open at once; the oldest stops working. */
const LINKS_MAX = 16;
const SECRET_BYTES = 32;

/** Starts to serve, or rejects: the port is taken, or the address is not for keys. */
export async function serveDashboard(options: DashboardOptions): Promise<RunningDashboard> {
  const { host, port, key } = options;
  if (key !== undefined && !isLoopback(host)) {
    throw new Error(`a key is given on loopback alone, and ${host} is not`);
  }
  const page = await loadPage();
  const secrets: Buffer[] = [];
  const server = createServer((request, response) => {
    const context = { options, page, secrets, port: portOf(server) };
    answer(request, response, context).catch(() => send(response, 500, "text/plain", "error\n"));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  const url = `http://${host.includes(":") ? `[${host}]` : host}:${portOf(server)}/`;
  return {
    url,
    link: () => (key === undefined ? url : `${url}#key=${newSecret(secrets)}`),
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

interface Context {
  readonly options: DashboardOptions;
  readonly page: ReadonlyMap<string, Asset>;
  /** Hashes of the secrets that still work. */
  readonly secrets: Buffer[];
  readonly port: number;
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  context: Context,
): Promise<void> {
  const { options, page, port } = context;
  const [path = "/"] = (request.url ?? "/").split("?");
  // A name of somebody else's that leads here must not be able to read what this machine may.
  if (options.key !== undefined && !isOwnName(request.headers.host ?? "", port)) {
    return send(response, 421, "text/plain", "not a name of this page\n");
  }
  for (const [name, value] of Object.entries(securityHeaders(options.websocket))) {
    response.setHeader(name, value);
  }
  if (path === "/key" && request.method === "POST") return giveKey(request, response, context);
  if (request.method !== "GET" && request.method !== "HEAD") {
    return send(response, 405, "text/plain", "GET only\n");
  }
  if (path === "/healthz") return send(response, 200, "text/plain", "ok\n");
  if (path === "/config.json") {
    const config = { websocket: options.websocket, key: options.key !== undefined };
    return send(response, 200, "application/json", encode(config));
  }
  const asset = page.get(path === "/" ? "/index.html" : path);
  if (asset === undefined) return send(response, 404, "text/plain", "not found\n");
  sendAsset(request, response, asset);
}

/** Gives the key for a secret that was not used before; a page of another origin may not even ask. */
async function giveKey(
  request: IncomingMessage,
  response: ServerResponse,
  { options, secrets, port }: Context,
): Promise<void> {
  const { origin = "" } = request.headers;
  if (!isOwnName(origin.replace(/^http:\/\//, ""), port)) {
    return send(response, 403, "text/plain", "not from this page\n");
  }
  const secret = await bodyOf(request);
  const hash = hashOf(secret ?? "");
  const at = secrets.findIndex((known) => timingSafeEqual(known, hash));
  if (at < 0 || options.key === undefined) {
    return send(response, 403, "text/plain", "this link was used before, or is of an older run\n");
  }
  secrets.splice(at, 1);
  send(response, 200, "application/json", encode(options.key));
  options.onUsed?.();
}

async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > BODY_MAX_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** Scripts and styles of our own alone, and one place to connect to. */
function securityHeaders(websocket: string): Readonly<Record<string, string>> {
  const policy = [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    `connect-src 'self' ${websocket}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ];
  return {
    "Content-Security-Policy": policy.join("; "),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
  };
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  if (response.headersSent) return;
  response.writeHead(status, {
    "Content-Type": `${type}; charset=utf-8`,
    "Cache-Control": "no-store",
  });
  response.end(body);
}

function sendAsset(request: IncomingMessage, response: ServerResponse, asset: Asset): void {
  const packed = /\bgzip\b/.test(request.headers["accept-encoding"]?.toString() ?? "");
  response.writeHead(200, {
    "Content-Type": asset.type,
    "Cache-Control": asset.lasting ? "public, max-age=31536000, immutable" : "no-cache",
    Vary: "Accept-Encoding",
    ...(packed ? { "Content-Encoding": "gzip" } : {}),
  });
  response.end(request.method === "HEAD" ? undefined : packed ? asset.gzip : asset.bytes);
}

function newSecret(secrets: Buffer[]): string {
  const secret = randomBytes(SECRET_BYTES).toString("base64url");
  secrets.push(hashOf(secret));
  if (secrets.length > LINKS_MAX) secrets.shift();
  return secret;
}

function hashOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo | null)?.port ?? 0;
}

function isOwnName(host: string, port: number): boolean {
  return ["127.0.0.1", "localhost", "[::1]"].some((name) => host === `${name}:${port}`);
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."));
}
