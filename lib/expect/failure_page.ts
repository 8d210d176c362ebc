import type { Machine } from "../machine/machine.ts";
import { statePage } from "../machine/state_page.ts";
import type { Comparison, Verdict } from "./verdict.ts";

const INDENT = "  ";

/**
 * What a failed matcher says: which call failed; expected and received, aligned; then where the guest was and what it had done.
 *
 * @param negated Whether the test wrote `.not`.
 */
export function failurePage(machine: Machine, verdict: Verdict, negated: boolean): string {
  const shown = verdict.comparisons().filter(({ matches }) => matches === negated);
  return [
    `expect(vm)${negated ? ".not" : ""}.${verdict.call}`,
    "",
    ...shown.flatMap((comparison) => comparisonLines(comparison, negated)),
    ...verdict.details === undefined ? [] : ["", verdict.details()],
    "",
    statePage(machine),
  ].join("\n");
}

function comparisonLines({ what, expected, received }: Comparison, negated: boolean): string[] {
  const width = what.length;
  const label = negated ? "expected not" : "expected";
  return [
    `${INDENT}${what}${INDENT}${label} ${expected}`,
    `${INDENT}${" ".repeat(width)}${INDENT}${"received".padEnd(label.length)} ${received}`,
  ];
}
