import { AssertionError, type Matcher } from "./assertion_error.ts";
import type { MachineCpu } from "../machine/machine.ts";
import { statePage } from "../machine/report/state_page.ts";
import type { Comparison, Verdict } from "./verdict.ts";

const INDENT = "  ";

/**
 * What a failed matcher says: which call failed; expected and received, aligned; then where the guest was and
 * what it had done. It is plain text without colours, because reports that are no terminal have it too.
 *
 * @param negated Whether the test wrote `.not`.
 */
export function failurePage(machine: MachineCpu, verdict: Verdict, negated: boolean): string {
  const shown = verdict.comparisons().filter(({ matches }) => matches === negated);
  const width = Math.max(0, ...shown.map(({ what }) => what.length));
  return [
    `expect(${cpuText(machine)})${negated ? ".not" : ""}.${verdict.call}`,
    "",
    ...shown.flatMap((comparison) => comparisonLines(comparison, width, negated)),
    ...verdict.details === undefined ? [] : ["", verdict.details()],
    "",
    statePage(machine),
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
 * @throws {AssertionError} When the verdict is not what the test wants.
 * @throws {TypeError} When it would say nothing: of a guest that has not run; negated, of several things at once, or
 *   of one that is not there.
 */
export function assertVerdict(
  machine: MachineCpu,
  verdict: Verdict,
  negated: boolean,
  matcher: Matcher,
): void {
  if (verdict.matches !== negated) {
    checkIsSaying(machine, verdict, negated, matcher);
    return;
  }
  throw new AssertionError(failurePage(machine, verdict, negated), matcher);
}

/** A verdict that holds because nothing was looked at is the test's mistake. */
function checkIsSaying(
  { hasRun }: MachineCpu,
  verdict: Verdict,
  negated: boolean,
  matcher: Matcher,
): void {
  const call = `expect(vm)${negated ? ".not" : ""}.${verdict.call}`;
  if (verdict.isOfRun && !hasRun) {
    throw fromMatcher(
      `Cannot tell ${call}: the guest has not run, so it would hold whatever the guest does. Run it first.`,
      matcher,
    );
  }
  if (!negated) return;
  if (verdict.absent !== undefined) {
    throw fromMatcher(`Cannot tell ${call}: ${verdict.absent}.`, matcher);
  }
  if (verdict.comparisons().length === 1) return;
  throw fromMatcher(
    `Cannot tell ${call}: it would hold as soon as one of ${verdict.comparisons().length} values differs. ` +
      "Write an `expect(vm).not` for each.",
    matcher,
  );
}

function fromMatcher(message: string, matcher: Matcher): TypeError {
  const error = new TypeError(message);
  Error.captureStackTrace(error, matcher);
  return error;
}
