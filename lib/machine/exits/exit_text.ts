import { describeExit } from "../../kvm/exits/describe_exit.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import { msrName } from "../../x86/msr_number.ts";

/** An exit in one line, as {@linkcode describeExit} has it, and MSRs by their names. */
export function exitText(exit: Exit): string {
  return describeExit(exit, { msrName });
}
