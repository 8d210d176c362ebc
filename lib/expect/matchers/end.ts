import type { Exit } from "../../kvm/exits/exit.ts";
import { type MachineCpu, runControlOf } from "../../machine/machine.ts";
import { exitText } from "../../machine/report/exit_text.ts";
import { isErrorOf, TimeLimitError } from "../../machine/run/run_errors.ts";
import { checkRunOptionsWithoutEnd, type RunOptions } from "../../machine/run/run_options.ts";
import type { MpState } from "../../machine/interrupts/vcpu_events.ts";
import { hex } from "../../x86/hex.ts";
import type { MatcherResult } from "../failure_page.ts";
import { formatAddress } from "../format.ts";

/** The widest value that an `out` writes. */
const LAST_STATUS = 0xffff_ffff;

function noStatus(earlier: number | undefined): string {
  return earlier === undefined
    ? "the guest has not written to its exit port (the option `exitPort`)"
    : `the guest wrote ${
      formatAddress(earlier)
    } to its exit port in an earlier run, and nothing in this one`;
}

/** Compares the latest exit with the reason that is expected. */
export function matchEnd(
  machine: MachineCpu,
  call: "toBeHalted()" | "toBeShutDown()",
  reason: Exit["reason"],
): MatcherResult {
  const { lastExit, isAtExit } = machine;
  const matches = isAtExit && lastExit?.reason === reason;
  return {
    call,
    matches,
    isOfRun: true,
    comparisons: () => [{
      what: "latest exit",
      expected: reason,
      received: lastText(machine),
      matches,
    }],
  };
}

function lastText({ lastExit, isAtExit, log, number }: MachineCpu): string {
  if (lastExit === undefined) return "none: the guest has not run";
  const text = log.latestOf(number)?.fault ?? exitText(lastExit);
  if (isAtExit) return text;
  return `${text}, from where the guest ran on until it was stopped, or was brought elsewhere (rip or cs was set)`;
}

/**
 * Compares what the guest wrote to its exit port.
 *
 * @throws {RangeError} When no `out` could write that status.
 */
export function matchExitStatus(machine: MachineCpu, status: number): MatcherResult {
  if (!Number.isInteger(status) || status < 0 || status > LAST_STATUS) {
    throw new RangeError(
      `Cannot expect ${String(status)} as an exit status: it is not a whole number from 0 to ${
        hex(LAST_STATUS)
      }`,
    );
  }
  const received = machine.exitStatus;
  const none = () => noStatus(runControlOf(machine.machine).exitPort?.earlierStatus);
  return {
    call: `toHaveExitStatus(${formatAddress(status)})`,
    matches: received === status,
    isOfRun: true,
    objection: received === undefined ? none() : undefined,
    comparisons: () => [{
      what: "exit status",
      expected: formatAddress(status),
      received: received === undefined ? `none: ${none()}` : formatAddress(received),
      matches: received === status,
    }],
  };
}

/** What a CPU waits for that no INIT and SIPI has started. */
const NOT_STARTED: readonly MpState[] = ["UNINITIALIZED", "INIT_RECEIVED"];

/** Below this, in milliseconds, a guest that would end at once can be taken for one that does not. */
const SHORTEST = 5;

/**
 * Checks a time limit that a guest is to reach.
 *
 * @returns What runs the machine, and compares how the run ended with a run that is stopped by its time limit.
 * @throws {RangeError} When the limit is so short that a guest may not have got to its end.
 */
export function matchTimeLimit(machine: MachineCpu, options: RunOptions): () => MatcherResult {
  checkRunOptionsWithoutEnd(options);
  if (options.timeout !== undefined && options.timeout < SHORTEST) {
    throw new RangeError(
      `Cannot tell within ${options.timeout} ms that a guest does not end: give it at least ${SHORTEST} ms`,
    );
  }
  const call = `toRunOutOfTime(${
    options.timeout === undefined ? "" : `{ timeout: ${options.timeout} }`
  })`;
  return () => {
    const { matches, received } = runToLimit(machine, options);
    const expected = "a guest that runs until it is stopped";
    return {
      call,
      matches,
      comparisons: () => [{ what: "end of the run", expected, received, matches }],
    };
  };
}

function runToLimit(machine: MachineCpu, options: RunOptions) {
  try {
    const exit = machine.machine.run(options);
    return { matches: false, received: `${exitText(exit)}, exit ${machine.log.total}` };
  } catch (error) {
    if (!(error instanceof TimeLimitError) || !isErrorOf(machine, error)) throw error;
    // Of several CPUs another may have run on; with a local APIC a HLT waits in the kernel.
    const hasHalted = (machine.isAtExit && machine.lastExit?.reason === "HLT") ||
      machine.mpState === "HALTED";
    const waiting = hasHalted
      ? ", where it waited in HLT"
      : NOT_STARTED.includes(machine.mpState)
      ? `, where it had not been started: it waited for a SIPI (${machine.mpState})`
      : "";
    return {
      matches: waiting === "",
      received: `stopped after ${error.milliseconds} ms${waiting}`,
    };
  }
}
