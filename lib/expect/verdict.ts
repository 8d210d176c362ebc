import type { MachineCpu } from "../machine/machine_cpu.ts";
import { AssertionError, type Matcher } from "./assertion_error.ts";
import { failurePage } from "./failure_page.ts";

/** One thing that a matcher compared. */
export interface Comparison {
  /** What it is: `"al"`, `"physical 0x2000"`. */
  readonly what: string;
  /** What the test expects. */
  readonly expected: string;
  /** What there is. */
  readonly received: string;
  /** A line that points at a place of `received`, below it. */
  readonly mark?: string;
  /** Whether they match. */
  readonly matches: boolean;
}

/** A matcher's result, before `.not` turns it round. */
export interface Verdict {
  /** The call, as the test wrote it: `toHaveRegisters({ al: 0xaa })`. */
  readonly call: string;
  /** Whether everything matches. */
  readonly matches: boolean;
  /** What was compared. Called only where the text is needed. */
  readonly comparisons: () => readonly Comparison[];
  /** More for the failure page: a transcript with its marks. */
  readonly details?: () => string;
}

/**
 * Throws what a failed matcher throws.
 *
 * @param negated Whether the test wrote `.not`.
 * @param matcher The function that the test called: the stack begins above it.
 * @throws {AssertionError} When the verdict is not what the test wants.
 */
export function assertVerdict(
  machine: MachineCpu,
  verdict: Verdict,
  negated: boolean,
  matcher: Matcher,
): void {
  if (verdict.matches !== negated) return;
  throw new AssertionError(failurePage(machine, verdict, negated), matcher);
}
