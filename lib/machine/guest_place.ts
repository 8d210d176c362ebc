import type { CodeBits } from "../guest/image_parts.ts";
import type { SourceLine } from "../guest/source_line.ts";
import type { Machine } from "./machine.ts";

/** The longest instruction of x86 (Intel SDM Vol. 2, 2.3.11). */
const LONGEST_INSTRUCTION = 15;

/** CS and IP after a reset (Intel SDM Vol. 3, table 10-1). */
const RESET = { selector: 0xf000, ip: 0xfff0n };

/** Where a stopped guest's next instruction is. */
export interface GuestPlace {
  /** Its linear address: the base of CS and rip. */
  readonly linear: number;
  /** What to subtract from linear addresses to find them in the image: guests that start at CS:IP are assembled for offsets in CS. */
  readonly imageBase: number;
  /** The width of the code. */
  readonly bits: CodeBits;
}

/** Where a stopped guest's next instruction is. */
export function guestPlace(machine: Machine): GuestPlace {
  const { rip, cs } = machine.registers;
  const linear = Number(BigInt.asUintN(64, cs.base + rip));
  const base = Number(cs.base);
  const { image } = machine;
  const isOffset = lineNear(image.lineAt, linear) === undefined &&
    lineNear(image.lineAt, linear - base) !== undefined;
  return { linear, imageBase: isOffset ? base : 0, bits: codeBits(machine) };

  function lineNear(lineAt: typeof image.lineAt, address: number): SourceLine | undefined {
    // Behind its last instruction a guest that has halted is still near it.
    return lineAt.call(image, address) ?? lineAt.call(image, address - 1);
  }
}

/** The processor mode in words, for titles. */
export function modeText({ registers }: Machine): string {
  if (!registers.cr0.pe) return "real mode";
  if (registers.efer.lma) return registers.cs.l ? "64-bit mode" : "compatibility mode";
  if (registers.rflags.vm) return "virtual-8086 mode";
  return `${codeBits({ registers })}-bit protected mode`;
}

/** Whether the registers say nothing of the guest: at a triple fault KVM resets the CPU of an AMD processor. */
export function isReset({ lastExit, registers }: Machine): boolean {
  return lastExit?.reason === "SHUTDOWN" && registers.cs.selector === RESET.selector &&
    registers.rip === RESET.ip;
}

/** As much of guest memory from a linear address on as is mapped, at most `length` bytes. */
export function readableBytes(machine: Machine, address: number, length: number): Uint8Array {
  try {
    return machine.linear.read(address, length);
  } catch {
    // It ends before that. Whole reads are the rule, so that one byte at a time is not too slow.
  }
  const bytes: number[] = [];
  try {
    while (bytes.length < length) bytes.push(machine.linear.u8(address + bytes.length));
  } catch {
    // The end of what is mapped.
  }
  return new Uint8Array(bytes);
}

/** The code from a linear address on, enough for `count` instructions. */
export function codeAt(machine: Machine, address: number, count: number): Uint8Array {
  return readableBytes(machine, address, LONGEST_INSTRUCTION * count);
}

function codeBits({ registers }: Pick<Machine, "registers">): CodeBits {
  if (registers.efer.lma && registers.cs.l) return 64;
  return registers.cs.db ? 32 : 16;
}
