/** Dead letters as the page lists them: from their headers, without the body. */
import type { JsMsg } from "@nats-io/jetstream";
import type { MsgHdrs } from "@nats-io/nats-core";
import {
  decode,
  FailedTry,
  Header,
  lastTokenOf,
  SUBMIT_HEADERS,
  WireError,
} from "@swarm-mesh/protocol";
import { isoTime } from "@swarm-mesh/runtime";
import { z } from "zod";

export interface Letter {
  readonly seq: number;
  readonly task: string;
  readonly capability: string;
  readonly lane: string;
  readonly status: string;
  readonly submittedAt: string;
  readonly at: string;
  readonly error: WireError | undefined;
  readonly tries: readonly FailedTry[];
  /** What the submit said, by header. */
  readonly submit: readonly (readonly [string, string])[];
}

const Tries = z.array(FailedTry);

export function letterOf(message: Pick<JsMsg, "seq" | "subject" | "headers" | "time">): Letter {
  const { headers, seq, subject, time } = message;
  const header = (name: string): string => headers?.get(name) ?? "";
  const error = decode(WireError, bytesOf(header(Header.error)));
  const tries = decode(Tries, bytesOf(header(Header.tries)));
  return {
    seq,
    task: header(Header.taskId) || lastTokenOf(subject),
    capability: header(Header.capability),
    lane: header(Header.lane),
    status: header(Header.status),
    submittedAt: header(Header.submittedAt),
    at: isoTime(time.getTime()),
    error: error.ok ? error.value : undefined,
    tries: tries.ok ? tries.value : [],
    submit: submitHeadersOf(headers),
  };
}

const SIGNATURE: readonly string[] = [Header.signer, Header.expires, Header.signature];

/** Headers of the task's next submit. A signature was for the old id, and would have it refused. */
export function submitAgain({ submit }: Letter): Letter["submit"] {
  return submit.filter(([name]) => !SIGNATURE.includes(name));
}

/** Was the task signed? */
export function isSigned({ submit }: Letter): boolean {
  return submit.some(([name]) => name === Header.signature);
}

/** Headers of the submit that were set. */
function submitHeadersOf(headers: MsgHdrs | undefined): readonly (readonly [string, string])[] {
  return SUBMIT_HEADERS.flatMap((name) => {
    const value = headers?.get(name) ?? "";
    return value === "" ? [] : [[name, value] as const];
  });
}

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
