import { exitText } from "../../machine/report/exit_text.ts";
import type { MachineCpu } from "../../machine/machine.ts";
import { checkRunOptions, type RunOptions } from "../../machine/run/run_options.ts";
import { TimeLimitError } from "../../machine/run/run_errors.ts";
import type { Verdict } from "../verdict.ts";

/** Below this, in milliseconds, a guest that would end at once can be taken for one that does not. */
const SHORTEST = 5;

/**
 * Runs the machine, and compares how the run ended with a run that is stopped by its time limit.
 *
 * @throws {RangeError} When the limit is so short that a guest may not have got to its end.
 */
export function matchTimeLimit(machine: MachineCpu, options: RunOptions): Verdict {
  checkRunOptions(options);
  if (options.timeout !== undefined && options.timeout < SHORTEST) {
    throw new RangeError(
      `Cannot tell within ${options.timeout} ms that a guest does not end: give it at least ${SHORTEST} ms`,
    );
  }
  const call = `toRunOutOfTime(${
    options.timeout === undefined ? "" : `{ timeout: ${options.timeout} }`
  })`;
  const expected = "a guest that runs until it is stopped";
  try {
    const exit = machine.machine.run(options);
    const received = `${exitText(exit)}, exit ${machine.log.total}`;
    return {
      call,
      matches: false,
      comparisons: () => [{ what: "end of the run", expected, received, matches: false }],
    };
  } catch (error) {
    if (!(error instanceof TimeLimitError)) throw error;
    const received = `stopped after ${error.milliseconds} ms`;
    return {
      call,
      matches: true,
      comparisons: () => [{ what: "end of the run", expected, received, matches: true }],
    };
  }
}
