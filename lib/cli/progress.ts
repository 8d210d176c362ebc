const CLEAR_LINE = "\r\x1b[K";

/** One short line on standard error that says what is being done: rewritten in place on a terminal, plain lines elsewhere. */
export class Progress implements Disposable {
  readonly #rewrites: boolean;
  readonly #write: (text: string) => void;
  #shown = false;

  /**
   * @param rewrites whether the line can be rewritten
   * @param write where it goes
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
