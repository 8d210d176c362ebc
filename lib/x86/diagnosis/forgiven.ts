import { accessesOf } from "./accesses.ts";
import { checkLoaded } from "./control_rules.ts";
import type { GuestView } from "./guest_view.ts";
import { checkAlignment, checkCodeLimit, checkSegment } from "./memory_rules.ts";
import { checkLock } from "./opcode_rules.ts";
import { type ReadInstruction, readInstruction } from "./operands.ts";
import type { Raised } from "./raised.ts";
import { checkLoads } from "./transfer_rules.ts";

/**
 * The exception that an instruction raises by a rule that QEMU's emulated processors do not look at (7.2: limits and types of
 * segments; alignment by RFLAGS.AC; canonical addresses in registers; reserved bits of MXCSR; code with L = 1 and D = 1; LOCK
 * before `mov`). Whether the one at hand has looked is another question.
 */
export function forgivenException(view: GuestView): Raised | undefined {
  const read = readInstruction(view.incident.instruction.text, view.bits);
  return checkCodeLimit(view) ?? checkLock(read) ?? checkLoaded(view, read) ??
    checkMemory(view, read) ??
    (/^(jmp|call|retf|iret)/.test(read.mnemonic) && view.efer("lma")
      ? checkLoads(view, read)
      : undefined);
}

function checkMemory(view: GuestView, read: ReadInstruction): Raised | undefined {
  for (const access of accessesOf(read, view.incident, view.bits)) {
    // In 64-bit mode QEMU looks at what is left of the rules of segments, canonical addresses.
    const raised = (view.mode === "64-bit" ? undefined : checkSegment(view, access)) ??
      checkAlignment(view, access);
    if (raised !== undefined) return raised;
  }
  return undefined;
}
