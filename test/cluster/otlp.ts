/** Takes the spans that processes send by OTLP over HTTP, as a collector does. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";

/** A span as far as a picture of it needs. */
export interface SeenSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly service: string;
  readonly startedAtNs: bigint;
  readonly failed: boolean;
  readonly problem: string | undefined;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
}

interface Attribute {
  readonly key: string;
  readonly value: { stringValue?: string; intValue?: string | number; boolValue?: boolean };
}

/** The part of an ExportTraceServiceRequest that is read. */
interface Export {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] };
    readonly scopeSpans: readonly {
      readonly spans: readonly {
        readonly name: string;
        readonly traceId: string;
        readonly spanId: string;
        readonly parentSpanId?: string;
        readonly startTimeUnixNano: string;
        readonly attributes?: readonly Attribute[];
        readonly status?: { readonly code?: number; readonly message?: string };
      }[];
    }[];
  }[];
}

function valuesOf(attributes: readonly Attribute[] = []): SeenSpan["attributes"] {
  return Object.fromEntries(
    attributes.map(({ key, value: { stringValue, intValue, boolValue } }) => [
      key,
      stringValue ?? (intValue === undefined ? boolValue : Number(intValue)) ?? "",
    ]),
  );
}

const ERROR = 2;

export class OtlpReceiver {
  readonly spans: SeenSpan[] = [];
  readonly #server: Server;

  private constructor() {
    this.#server = createServer(async (request, response) => {
      const { resourceSpans } = (await json(request)) as Export;
      for (const { resource, scopeSpans } of resourceSpans) {
        const service = String(valuesOf(resource.attributes)["service.name"]);
        for (const span of scopeSpans.flatMap(({ spans }) => spans)) {
          const { name, traceId, spanId, status } = span;
          this.spans.push({
            ...{ name, traceId, spanId, service },
            parentSpanId: span.parentSpanId || undefined,
            startedAtNs: BigInt(span.startTimeUnixNano),
            failed: status?.code === ERROR,
            problem: status?.message,
            attributes: valuesOf(span.attributes),
          });
        }
      }
      response.writeHead(200, { "content-type": "application/json" }).end("{}");
    });
  }

  static async start(): Promise<OtlpReceiver> {
    const receiver = new OtlpReceiver();
    await new Promise<void>((resolve) => {
      receiver.#server.listen(0, "127.0.0.1", resolve);
    });
    return receiver;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The spans of one trace, in the order in which they began. */
  trace(traceId: string): SeenSpan[] {
    return this.spans
      .filter((span) => span.traceId === traceId)
      .sort((a, b) => (a.startedAtNs < b.startedAtNs ? -1 : 1));
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
