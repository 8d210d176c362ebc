import { exitText } from "../../machine/report/exit_text.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import { CaughtFault } from "../../machine/faults/caught_fault.ts";
import {
  GuestFaultError,
  isErrorOf,
  TimeLimitError,
  UnhandledExitError,
} from "../../machine/run/run_errors.ts";
import { ownIdt } from "../../machine/report/registers_section.ts";
import type { MachineCpu } from "../../machine/machine.ts";
import { checkRunOptionsWithoutEnd, type RunOptions } from "../../machine/run/run_options.ts";
import { definedEntries } from "../../x86/defined_entries.ts";
import { describeWalk } from "../../x86/paging/page_walk.ts";
import type { ExceptionName } from "../../x86/exceptions/exceptions.ts";
import {
  checkCanFault,
  compareFault,
  expectedFault,
  expectedFaultText,
  type FaultFields,
  faultFieldsText,
} from "../patterns/fault.ts";
import type { Comparison, MatcherResult } from "../failure_page.ts";

/**
 * Checks what a test expects of a fault.
 *
 * @returns What runs the machine until its guest faults, and compares the fault.
 * @throws {TypeError} When the machine has no fault catcher, or such exceptions do not have a field.
 * @throws {RangeError} When there is no exception or label of that name, or a value does not fit.
 */
export function matchFault(
  machine: MachineCpu,
  name: ExceptionName | `int 0x${string}`,
  fields: FaultFields | undefined,
  options: RunOptions | undefined,
): () => MatcherResult {
  // Before options, {} holds the place of the fields.
  const expected = expectedFault(name, fields, options && definedEntries);
  checkRunOptionsWithoutEnd(options ?? {});
  checkCanFault(machine, expected);
  const shown = Object.keys(expected.fields).length === 0
    ? ""
    : `, ${faultFieldsText(expected.fields)}`;
  const call = `toFault(${JSON.stringify(name)}${shown})`;
  return () => {
    const end = runToFault(machine, options ?? {});
    if (!(end instanceof CaughtFault)) {
      return {
        call,
        matches: false,
        cpu: end.cpu,
        comparisons: () => [{
          what: "end of the run",
          expected: expectedFaultText(expected),
          received: end.received,
          matches: false,
        }],
      };
    }
    const comparisons = compareFault(expected, end);
    return {
      call,
      matches: comparisons.every(({ matches }) => matches),
      comparisons: () => comparisons,
      ...isTold(end, comparisons) ? {} : { details: () => faultDetails(end, comparisons) },
    };
  };
}

/** Whether the comparisons say all there is to say of the fault. */
function isTold({ walk }: CaughtFault, [{ matches }]: readonly Comparison[]): boolean {
  return !matches && walk === undefined;
}

/** What is not in the comparisons: the fault in words, where its name is right, and its page tables. */
function faultDetails(fault: CaughtFault, [{ matches }]: readonly Comparison[]): string {
  return [
    ...matches ? [fault.text] : [],
    ...fault.walk === undefined
      ? []
      : ["page tables", ...describeWalk(fault.walk).map((line) => `    ${line}`)],
  ].join("\n");
}

/** Another end of a run than the CPU's fault. */
interface OtherEnd {
  /** In words. */
  readonly received: string;
  /** Whose end it was, where that need not be the CPU whose fault was to come. */
  readonly cpu?: number;
}

/** The fault, or what came in its place. */
function runToFault(machine: MachineCpu, options: RunOptions): CaughtFault | OtherEnd {
  const noFault = (exit: Exit) =>
    `no fault: ${exitText(exit)}, exit ${machine.log.total}${unseen(machine)}`;
  try {
    return { received: noFault(machine.machine.run(options)) };
  } catch (error) {
    if (!isErrorOf(machine, error)) throw error;
    if (error instanceof GuestFaultError) {
      const { cpu, fault } = error;
      return cpu === machine.number ? fault : { cpu, received: `${fault.text} of CPU ${cpu}` };
    }
    if (error instanceof UnhandledExitError && error.exit.reason === "SHUTDOWN") {
      return { cpu: machine.machine.exitingCpu.number, received: noFault(error.exit) };
    }
    if (!(error instanceof TimeLimitError)) throw error;
    return {
      received: `no fault within ${error.milliseconds} ms: the guest still ran${unseen(machine)}`,
    };
  }
}

/** Why a fault may have come that nobody was told of. */
function unseen(machine: MachineCpu): string {
  const own = ownIdt(machine);
  return own === undefined ? "" : `; ${own}`;
}
