/** A method that a test calls to assert something. */
export type Matcher = (...parameters: never[]) => void;

/**
 * A matcher's verdict that the guest is wrong. Its message is the failure page; its stack begins at the line
 * of the test.
 */
export class AssertionError extends Error {
  /** The name that reporters print. */
  override readonly name = "AssertionError";

  /**
   * What a failed matcher throws.
   *
   * @param message The failure page.
   * @param matcher The function whose frames, and all above it, are cut from the stack.
   */
  constructor(message: string, matcher: Matcher) {
    super(message);
    // V8 heads the captured stack with the name and message, so both must be there before.
    Error.captureStackTrace(this, matcher);
  }
}
