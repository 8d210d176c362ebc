/** What a {@link NestedError} knows beside its message. */
export interface NestedErrorOptions extends ErrorOptions {
  /** The end of the machine's console log, shown below the message. */
  console?: string;
  /** What a command line exits with; {@linkcode NESTED_FAILURE} unless told. */
  exitCode?: number;
}

/** The exit code for "the machine failed, not the tests". */
export const NESTED_FAILURE = 2;

/** The exit code for "it took too long", as timeout(1) has it. */
export const NESTED_TIMEOUT = 124;

/**
 * The nested machine, or what it is made of, failed; the command that was to run in it is not to blame. The message
 * says what to do next and ends with the last lines of the machine's console where there is one.
 *
 * @example
 * ```ts
 * import { NestedError } from "@vmexit/vmexit/nested";
 *
 * const error = new NestedError("The nested machine stopped", { console: "Kernel panic" });
 * console.log(error.message); // "The nested machine stopped\n\nThe end of its console:\n  Kernel panic"
 * ```
 */
export class NestedError extends Error {
  /** The name that a stack trace shows. */
  override name = "NestedError";
  /** What a command line exits with. */
  readonly exitCode: number;

  /**
   * Makes the error.
   *
   * @param message What happened and what to do next.
   * @param options The cause, and the end of the console log.
   */
  constructor(message: string, options: NestedErrorOptions = {}) {
    const lines = (options.console ?? "").split("\n").filter((line) => line.trim() !== "");
    const console = lines.map((line) => `\n  ${line}`).join("");
    super(console === "" ? message : `${message}\n\nThe end of its console:${console}`, options);
    this.exitCode = options.exitCode ?? NESTED_FAILURE;
  }
}
