/** What a command of the command line works with. */
export interface CommandContext {
  /** Says what is being done. */
  progress: Progress;
  /** Ends everything under way when it is aborted. */
  signal: AbortSignal;
}

const CLEAR_LINE = "\r\x1b[K";

/**
 * One short line on standard error that says what is being done: rewritten in place on a terminal, plain lines
 * elsewhere.
 */
export class Progress implements Disposable {
  readonly #rewrites: boolean;
  readonly #write: (text: string) => void;
  #shown = false;

  /**
   * @param rewrites Whether the line can be rewritten.
   * @param write Where it goes.
   */
  constructor(
    rewrites: boolean = Deno.stderr.isTerminal(),
    write: (text: string) => void = (text) => Deno.stderr.writeSync(new TextEncoder().encode(text)),
  ) {
    this.#rewrites = rewrites;
    this.#write = write;
  }

  /** Shows a line. Bound, so that it can be handed on as a function. */
  readonly show = (line: string): void => {
    this.#write(this.#rewrites ? `${CLEAR_LINE}vmexit: ${line} …` : `vmexit: ${line}\n`);
    this.#shown = true;
  };

  /** Says something that stays. Bound, too. */
  readonly note = (line: string): void => {
    this.clear();
    this.#write(`vmexit: ${line}\n`);
  };

  /** Takes the line away before other output comes. */
  clear(): void {
    if (this.#rewrites && this.#shown) this.#write(CLEAR_LINE);
    this.#shown = false;
  }

  /** Takes the line away. */
  [Symbol.dispose](): void {
    this.clear();
  }
}

/** The exit code of a process that a signal ended is this much more than the signal's number. */
const SIGNAL_EXIT_BASE = 128;
const SIGNAL_NUMBER = { SIGINT: 2, SIGTERM: 15 } as const;

/** The person or the system asked us to stop. */
export class Interrupted extends Error {
  /** The name that a stack trace shows. */
  override name = "Interrupted";
  /** What the command exits with. */
  readonly exitCode: number;

  /** @param signal Which signal came. */
  constructor(signal: keyof typeof SIGNAL_NUMBER) {
    super(`stopped by ${signal}`);
    this.exitCode = SIGNAL_EXIT_BASE + SIGNAL_NUMBER[signal];
  }
}

/** Turns SIGINT and SIGTERM into an abort, so that everything under way is ended and cleaned up before we exit. */
export class Interruption implements Disposable {
  readonly #controller = new AbortController();
  readonly #handlers: [Deno.Signal, () => void][] = [];

  /** Starts to listen. */
  constructor() {
    for (const name of ["SIGINT", "SIGTERM"] as const) {
      const handler = () => this.#controller.abort(new Interrupted(name));
      Deno.addSignalListener(name, handler);
      this.#handlers.push([name, handler]);
    }
  }

  /** Aborted with an {@link Interrupted} when a signal comes. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Stops listening. */
  [Symbol.dispose](): void {
    for (const [name, handler] of this.#handlers) Deno.removeSignalListener(name, handler);
  }
}
