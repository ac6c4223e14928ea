import { Readable } from "node:stream";
import type { Io } from "../src/io.ts";

/** A terminal that remembers what was printed. */
export class FakeIo implements Io {
  readonly env: Record<string, string>;
  readonly cwd: string;
  readonly home: string;
  readonly colour = false;
  readonly terminal: boolean;
  readonly errTerminal: boolean;
  /** What the person says who is asked; `undefined`: nobody is there. */
  answer: boolean | undefined;
  /** What was asked. */
  asked = "";
  readonly stop = new AbortController();
  /** What is typed, or piped in. */
  typed = "";
  stdout = "";
  stderr = "";
  /** Called after each print. */
  onOut: () => void = () => undefined;

  constructor(
    options: {
      readonly cwd?: string;
      readonly home?: string;
      readonly env?: Record<string, string>;
      readonly terminal?: boolean;
    } = {},
  ) {
    this.cwd = options.cwd ?? "/nowhere";
    this.home = options.home ?? "/nowhere";
    this.env = options.env ?? {};
    this.terminal = options.terminal ?? false;
    this.errTerminal = this.terminal;
  }

  out(text: string): void {
    this.stdout += text;
    this.onOut();
  }

  err(text: string): void {
    this.stderr += text;
  }

  async readStdin(): Promise<Uint8Array> {
    return Buffer.from(this.typed);
  }

  stdin(): Readable {
    return Readable.from([Buffer.from(this.typed)]);
  }

  async confirm(question: string): Promise<boolean | undefined> {
    this.asked = question;
    return this.answer;
  }

  interrupted(): AbortSignal {
    return this.stop.signal;
  }
}
