/** The exit code of a process that a signal ended is this much more than the signal's number. */
const SIGNAL_EXIT_BASE = 128;
const SIGNAL_NUMBER = { SIGINT: 2, SIGTERM: 15 } as const;

/** The person or the system asked us to stop. */
export class Interrupted extends Error {
  /** The name that a stack trace shows. */
  override name = "Interrupted";
  /** What the command exits with. */
  readonly exitCode: number;

  /** @param signal which signal came */
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
