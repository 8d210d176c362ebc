import type { CodeBits } from "../../guest/image_parts.ts";
import type { Image } from "../../guest/image.ts";
import type { Registers } from "./registers.ts";

/** Where a stopped guest's next instruction is. */
export interface CodeLocation {
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
export function codeLocation(
  { registers, image }: { readonly registers: Registers; readonly image: Image },
): CodeLocation {
  const linear = Number(linearInstructionPointer(registers));
  const base = Number(registers.cs.base);
  // A guest that has halted may be just behind its last instruction.
  const hasLine = (address: number) =>
    (image.lineAt(address) ?? image.lineAt(address - 1)) !== undefined;
  const isOffset = !hasLine(linear) && hasLine(linear - base);
  return { linear, imageBase: isOffset ? base : 0, bits: codeBits(registers) };
}

/** How wide the code is that CS selects. */
export function codeBits({ efer, cs }: Registers): CodeBits {
  if (efer.lma && cs.l) return 64;
  return cs.db ? 32 : 16;
}

/** The linear address of the next instruction: RIP behind the base of CS. */
export function linearInstructionPointer({ cs, rip }: Registers): bigint {
  return BigInt.asUintN(64, cs.base + rip);
}
