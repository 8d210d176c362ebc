import { disassemble, type Instruction } from "../../guest/disassemble.ts";
import type { GuestPlace } from "../registers/guest_place.ts";
import type { StoppedCpu } from "./stopped_cpu.ts";

/** The longest instruction of x86 (Intel SDM Vol. 2, 2.3.11). */
const LONGEST_INSTRUCTION = 15;

/**
 * A stopped guest's code as one failure page needs it: read and disassembled once, as each disassembly starts
 * a program.
 */
export class CodeView {
  /** Where the guest is. */
  readonly place: GuestPlace;
  readonly #machine: StoppedCpu;
  #known: readonly Instruction[] = [];

  /** The code of `machine`, whose next instruction is at `place`. */
  constructor(machine: StoppedCpu, place: GuestPlace) {
    this.#machine = machine;
    this.place = place;
  }

  /** As much of memory from a linear address on as is mapped, at most `length` bytes. */
  bytes(address: number, length: number): Uint8Array {
    const { linear } = this.#machine;
    try {
      return linear.read(address, length);
    } catch {
      // It ends before that. Whole reads are the rule, so that one byte at a time is not too slow.
    }
    const bytes: number[] = [];
    try {
      while (bytes.length < length) bytes.push(linear.u8(address + bytes.length));
    } catch {
      // The end of what is mapped.
    }
    return new Uint8Array(bytes);
  }

  /**
   * The instructions from a linear address on.
   *
   * @param end An address up to which they are wanted at least.
   * @param count How many are wanted at least from `end` on.
   * @returns Undefined where there is no disassembler.
   */
  instructions(address: number, end: number, count: number): readonly Instruction[] | undefined {
    const index = this.#known.findIndex((each) => Number(each.address) === address);
    if (index !== -1) return this.#known.slice(index);
    const code = this.bytes(address, end - address + count * LONGEST_INSTRUCTION);
    const { bits } = this.place;
    const { instructions, unavailable } = disassemble(code, { bits, origin: address });
    if (unavailable !== undefined) return undefined;
    this.#known = instructions;
    return instructions;
  }
}
