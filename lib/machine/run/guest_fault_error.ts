import { describeWalk } from "../../x86/describe_walk.ts";
import type { CaughtFault } from "../faults/caught_fault.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import { statePage } from "../report/state_page.ts";

/**
 * The guest caused an exception that it does not handle, and its fault catcher reported it. The machine stands
 * where the guest did: its registers are those at the fault, and running it on tries the instruction again.
 */
export class GuestFaultError extends Error {
  /** The name that reporters print. */
  override readonly name = "GuestFaultError";
  /** The fault. */
  readonly fault: CaughtFault;
  /** The number of the CPU whose fault it is. */
  readonly cpu: number;

  /** The error with the state of the machine at the fault. */
  constructor(machine: StoppedCpu, fault: CaughtFault) {
    const whose = machine.machine.cpus.length === 1 ? "" : `CPU ${machine.number}: `;
    super([whose + fault.text, "", ...walkLines(fault), statePage(machine)].join("\n"));
    this.fault = fault;
    this.cpu = machine.number;
  }
}

function walkLines({ walk }: CaughtFault): string[] {
  if (walk === undefined) return [];
  return ["page tables", ...describeWalk(walk).map((line) => `    ${line}`)];
}
