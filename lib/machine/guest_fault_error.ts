import { describeWalk } from "../x86/describe_walk.ts";
import type { CaughtFault } from "./caught_fault.ts";
import type { MachineCpu } from "./machine_cpu.ts";
import { statePage } from "./state_page.ts";

/**
 * The guest caused an exception that it does not handle, and its fault catcher reported it. The machine stands
 * where the guest did: its registers are those at the fault, and running it on tries the instruction again.
 */
export class GuestFaultError extends Error {
  /** The name that reporters print. */
  override readonly name = "GuestFaultError";
  /** The fault. */
  readonly fault: CaughtFault;

  /** The error with the state of the machine at the fault. */
  constructor(machine: MachineCpu, fault: CaughtFault) {
    super([fault.text, "", ...walkLines(fault), statePage(machine)].join("\n"));
    this.fault = fault;
  }
}

function walkLines({ walk }: CaughtFault): string[] {
  if (walk === undefined) return [];
  return ["page tables", ...describeWalk(walk).map((line) => `    ${line}`)];
}
