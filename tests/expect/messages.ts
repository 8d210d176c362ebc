import { AssertionError } from "@vmexit/vmexit";
import { assertInstanceOf } from "@std/assert";

/** What a failing matcher says. */
export function failureOf(call: () => void): AssertionError {
  try {
    call();
  } catch (error) {
    assertInstanceOf(error, AssertionError);
    return error;
  }
  throw new Error("the matcher did not fail");
}

/** The lines of its page from one that begins with `start`, `count` of them. */
export function linesFrom(call: () => void, start: string, count: number): string[] {
  const lines = failureOf(call).message.split("\n");
  const first = lines.findIndex((line) => line.startsWith(start));
  return lines.slice(first, first + count);
}
