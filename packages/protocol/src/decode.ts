/** Bytes to values and back: the only place in the repository that reads JSON from the wire. */
import type { z } from "zod";

const decoder = new TextDecoder("utf-8", { fatal: true });

/** What a payload turned out to be. A malformed payload is an outcome, not an exception. */
export type Decoded<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string };

/** Reads a message payload or a stored value as JSON that must match `schema`. */
export function decode<S extends z.ZodType>(schema: S, payload: Uint8Array): Decoded<z.infer<S>> {
  let json: unknown;
  try {
    json = JSON.parse(decoder.decode(payload));
  } catch {
    return { ok: false, problem: payload.length === 0 ? "empty, expected JSON" : "not JSON" };
  }
  return check(schema, json);
}

/** Checks a value against `schema`; the problem names the field and what was expected. */
export function check<S extends z.ZodType>(schema: S, value: unknown): Decoded<z.infer<S>> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return { ok: true, value: parsed.data };
  return { ok: false, problem: describeIssues(parsed.error) };
}

/** Every issue of a failed parse in one line: `agents.0.slots: expected number, received string`. */
export function describeIssues(error: z.ZodError): string {
  const lines = error.issues
    .slice(0, 5)
    .map((issue) => `${issue.path.join(".") || "value"}: ${issue.message}`);
  const more = error.issues.length - lines.length;
  return more > 0 ? `${lines.join("; ")}; and ${more} more` : lines.join("; ");
}

/** JSON of `value`, `undefined` fields left out. */
export function encode(value: unknown): string {
  return JSON.stringify(value);
}

/**
 * A program's output or a payload as a JSON value: what it parses to, else its text.
 * Bytes that are not UTF-8 are given as base64.
 */
export function looseValue(bytes: Uint8Array): unknown {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    // Not a Buffer: browsers read payloads as well.
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  }
  // Most text is told from JSON by how it begins; an error thrown for each would cost 10 µs.
  if (!JSON_BEGINS.test(text)) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** What a JSON value begins with: an object, an array, a string, a number, true, false or null. */
const JSON_BEGINS = /^[ \t\r\n]*[[{"\-0-9tfn]/;
