import type { Io } from "../src/io.ts";

/** A terminal that remembers what was printed. */
export class FakeIo implements Io {
  readonly env: Record<string, string>;
  readonly cwd: string;
  readonly home: string;
  readonly colour = false;
  readonly terminal: boolean;
  readonly stop = new AbortController();
  stdin = "";
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
  }

  out(text: string): void {
    this.stdout += text;
    this.onOut();
  }

  err(text: string): void {
    this.stderr += text;
  }

  async readStdin(): Promise<Uint8Array> {
    return Buffer.from(this.stdin);
  }

  interrupted(): AbortSignal {
    return this.stop.signal;
  }
}
