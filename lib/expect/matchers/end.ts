import { describeExit } from "../../kvm/describe_exit.ts";
import type { Exit } from "../../kvm/exit.ts";
import type { Machine } from "../../machine/machine.ts";
import { formatAddress } from "../format.ts";
import type { Verdict } from "../verdict.ts";

/** Compares the latest exit with the reason that is expected. */
export function matchEnd(
  machine: Machine,
  call: "toBeHalted()" | "toBeShutDown()",
  reason: Exit["reason"],
): Verdict {
  const { lastExit } = machine;
  const matches = lastExit?.reason === reason;
  return {
    call,
    matches,
    comparisons: () => [{
      what: "last exit",
      expected: reason,
      received: lastExit === undefined ? "none: the guest has not run" : describeExit(lastExit),
      matches,
    }],
  };
}

/** Compares what the guest wrote to its exit port. */
export function matchExitStatus(machine: Machine, status: number): Verdict {
  const received = machine.exitStatus;
  return {
    call: `toHaveExitStatus(${formatAddress(status)})`,
    matches: received === status,
    comparisons: () => [{
      what: "exit status",
      expected: formatAddress(status),
      received: received === undefined
        ? "none: the guest has not written to its exit port"
        : formatAddress(received),
      matches: received === status,
    }],
  };
}
