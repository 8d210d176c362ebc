import { exitText } from "../../machine/report/exit_text.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import type { MachineCpu } from "../../machine/machine.ts";
import { hex } from "../../x86/hex.ts";
import { formatAddress } from "../format.ts";
import type { Verdict } from "../verdict.ts";

/** The widest value that an `out` writes. */
const LAST_STATUS = 0xffff_ffff;

const NO_STATUS = "the guest has not written to its exit port (the option `exitPort`)";

/** Compares the latest exit with the reason that is expected. */
export function matchEnd(
  machine: MachineCpu,
  call: "toBeHalted()" | "toBeShutDown()",
  reason: Exit["reason"],
): Verdict {
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
  return isAtExit ? text : `${text}, from where the guest ran on until it was stopped`;
}

/**
 * Compares what the guest wrote to its exit port.
 *
 * @throws {RangeError} When no `out` could write that status.
 */
export function matchExitStatus(machine: MachineCpu, status: number): Verdict {
  if (!Number.isInteger(status) || status < 0 || status > LAST_STATUS) {
    throw new RangeError(
      `Cannot expect ${String(status)} as an exit status: it is not a whole number from 0 to ${
        hex(LAST_STATUS)
      }`,
    );
  }
  const received = machine.exitStatus;
  return {
    call: `toHaveExitStatus(${formatAddress(status)})`,
    matches: received === status,
    isOfRun: true,
    absent: received === undefined ? NO_STATUS : undefined,
    comparisons: () => [{
      what: "exit status",
      expected: formatAddress(status),
      received: received === undefined ? `none: ${NO_STATUS}` : formatAddress(received),
      matches: received === status,
    }],
  };
}
