import type { CodeBits } from "../../guest/image_parts.ts";
import type { MachineCpu } from "../machine_cpu.ts";

/** CS and IP after a reset (Intel SDM Vol. 3, table 10-1). */
const RESET = { selector: 0xf000, ip: 0xfff0n };

/** Where a stopped guest's next instruction is. */
export interface GuestPlace {
  /** Its linear address: the base of CS and rip. */
  readonly linear: number;
  /**
   * What to subtract from linear addresses to find them in the image: guests that start at CS:IP are
   * assembled for offsets in CS.
   */
  readonly imageBase: number;
  /** The width of the code. */
  readonly bits: CodeBits;
}

/** Where a stopped guest's next instruction is. */
export function guestPlace(machine: Pick<MachineCpu, "registers" | "image">): GuestPlace {
  const { rip, cs } = machine.registers;
  const linear = Number(BigInt.asUintN(64, cs.base + rip));
  const base = Number(cs.base);
  const { image } = machine;
  // A guest that has halted may be just behind its last instruction.
  const hasLine = (address: number) =>
    (image.lineAt(address) ?? image.lineAt(address - 1)) !== undefined;
  const isOffset = !hasLine(linear) && hasLine(linear - base);
  return { linear, imageBase: isOffset ? base : 0, bits: codeBits(machine) };
}

/** The processor mode in words, for titles. */
export function modeText({ registers, isAtExit, lastExit }: MachineCpu): string {
  if (isAtExit && lastExit?.runFlags.smm) return "system-management mode";
  if (!registers.cr0.pe) return "real mode";
  if (registers.efer.lma) return registers.cs.l ? "64-bit mode" : "compatibility mode";
  if (registers.rflags.vm) return "virtual-8086 mode";
  return `${codeBits({ registers })}-bit protected mode`;
}

/**
 * Whether the registers say nothing of the guest: at a triple fault KVM resets the CPU of an AMD processor.
 */
export function isReset({ lastExit, registers }: MachineCpu): boolean {
  return lastExit?.reason === "SHUTDOWN" && registers.cs.selector === RESET.selector &&
    registers.rip === RESET.ip;
}

function codeBits({ registers }: Pick<MachineCpu, "registers">): CodeBits {
  if (registers.efer.lma && registers.cs.l) return 64;
  return registers.cs.db ? 32 : 16;
}
