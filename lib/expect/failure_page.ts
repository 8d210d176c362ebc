import { beforeFailure, type MachineCpu } from "../machine/machine.ts";
import { statePage } from "../machine/report/state_page.ts";

/** A method that a test calls to assert something. */
export type Matcher = (...parameters: never[]) => void;

/**
 * What a matcher throws when the guest is wrong. Its message is the failure page; its stack begins at the line
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
export interface MatcherResult {
  /** The call, as the test wrote it: `toHaveRegisters({ al: 0xaa })`. */
  readonly call: string;
  /** Whether everything matches. */
  readonly matches: boolean;
  /** Whether it is about what the guest has done: then nothing can be said before it has run. */
  readonly isOfRun?: true;
  /** Whether it is about what the guest does one after the other: how it came to something else is looked at. */
  readonly isOfWay?: true;
  /** Why `.not` would hold by something else than what the test names: nothing was there to compare. */
  readonly objection?: string;
  /** What was compared. Called only where the text is needed. */
  readonly comparisons: () => readonly Comparison[];
  /** The number of the CPU that has failed, where that need not be the one that the test asked about. */
  readonly cpu?: number;
  /** More for the failure page: a transcript with its marks. */
  readonly details?: () => string;
}

const INDENT = "  ";

/**
 * What a failed matcher says: which call failed; expected and received, aligned; then where the guest was and
 * what it had done. It is plain text without colours, because reports that are no terminal have it too.
 *
 * @param negated Whether the test wrote `.not`.
 */
export function failurePage(machine: MachineCpu, result: MatcherResult, negated: boolean): string {
  const shown = result.comparisons().filter(({ matches }) => matches === negated);
  const width = Math.max(0, ...shown.map(({ what }) => what.length));
  return [
    `expect(${cpuText(machine)})${negated ? ".not" : ""}.${result.call}`,
    "",
    ...shown.flatMap((comparison) => comparisonLines(comparison, width, negated)),
    ...result.details === undefined ? [] : ["", result.details()],
    "",
    statePage(result.cpu === undefined ? machine : machine.machine.cpus[result.cpu], result),
  ].join("\n");
}

/** A CPU as the test wrote it. */
function cpuText({ number }: MachineCpu): string {
  return number === 0 ? "vm" : `vm.cpus[${number}]`;
}

function comparisonLines(comparison: Comparison, width: number, negated: boolean): string[] {
  const { what, expected, received, mark } = comparison;
  const label = negated ? "expected not" : "expected";
  const margin = INDENT + " ".repeat(width) + INDENT;
  return [
    `${INDENT}${what.padEnd(width)}${INDENT}${label} ${expected}`,
    `${margin}${"received".padEnd(label.length)} ${received}`,
    ...mark === undefined || negated ? [] : [`${margin}${" ".repeat(label.length)} ${mark}`],
  ];
}

/**
 * Throws what a failed matcher throws.
 *
 * @param negated Whether the test wrote `.not`.
 * @param matcher The function that the test called: the stack begins above it.
 * @throws {AssertionError} When the result is not what the test wants.
 * @throws {TypeError} When it would say nothing: of a guest that has not run; negated, of several things at once, or of
 *   one that is not there.
 */
export function assertResult(
  machine: MachineCpu,
  result: MatcherResult,
  negated: boolean,
  matcher: Matcher,
): void {
  if (result.matches !== negated) {
    checkIsSaying(machine, result, negated, matcher);
    return;
  }
  const page = failurePage(machine, result, negated);
  throw new AssertionError(page + beforeFailure(machine.machine, page), matcher);
}

/** A result that holds because nothing was looked at is the test's mistake. */
function checkIsSaying(
  { hasRun }: MachineCpu,
  result: MatcherResult,
  negated: boolean,
  matcher: Matcher,
): void {
  const call = `expect(vm)${negated ? ".not" : ""}.${result.call}`;
  if (result.isOfRun && !hasRun) {
    throw fromMatcher(
      `Cannot tell ${call}: the guest has not run, so it would hold whatever the guest does. Run it first.`,
      matcher,
    );
  }
  if (!negated) return;
  if (result.objection !== undefined) {
    throw fromMatcher(`Cannot tell ${call}: ${result.objection}.`, matcher);
  }
  if (result.comparisons().length === 1) return;
  throw fromMatcher(
    `Cannot tell ${call}: it would hold as soon as one of ${result.comparisons().length} values differs. ` +
      "Write an `expect(vm).not` for each.",
    matcher,
  );
}

function fromMatcher(message: string, matcher: Matcher): TypeError {
  const error = new TypeError(message);
  Error.captureStackTrace(error, matcher);
  return error;
}
