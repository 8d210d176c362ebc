import type { CodeBits } from "../../x86/boot/cpu_state.ts";
import { isCompiled } from "../../guest/code_lines.ts";
import type { SourceLine } from "../../guest/image_init.ts";
import type { Image } from "../../guest/image.ts";
import { loadAddressOf } from "../../guest/image_parts.ts";
import { addressesOf, noSuchPlace } from "../../guest/source_places.ts";
import type { Registers } from "./registers.ts";

/** Where a stopped guest's next instruction is. */
export interface CodeLocation {
  /** Its linear address: the base of CS and rip. */
  readonly linear: bigint;
  /** What to subtract from linear addresses to find them in the image. */
  readonly imageBase: bigint;
  /**
   * What to add to the image's labels to have their linear addresses: guests that start at CS:IP are assembled for
   * offsets in CS.
   */
  readonly segmentBase: bigint;
  /** The width of the code. */
  readonly bits: CodeBits;
}

/** Of which CPU, and of which guest. */
interface CodeOf {
  readonly registers: Registers;
  readonly image: Image;
}

/** Where a stopped guest's next instruction is. */
export function codeLocation({ registers, image }: CodeOf): CodeLocation {
  const linear = linearInstructionPointer(registers);
  const bits = codeBits(registers);
  return { linear, ...imageBaseAt(image, linear, registers.cs.base), bits };
}

/** Where an image lies, that has code at a linear address, or, where it has none, is taken to lie. */
export function imageBaseAt(
  image: Image,
  linear: bigint,
  csBase: bigint,
): Pick<CodeLocation, "imageBase" | "segmentBase"> {
  // A guest that has halted may be just behind its last instruction.
  const hasLine = (base: bigint) =>
    [0n, 1n].some((behind) => image.lineOf(linear - base - behind) !== undefined);
  const isCode = (base: bigint) =>
    [0n, 1n].some((behind) => image.segmentAt(linear - base - behind) !== undefined);
  if (csBase !== 0n && !hasLine(0n) && hasLine(csBase)) {
    return { imageBase: csBase, segmentBase: csBase };
  }
  if (isCode(0n)) return { imageBase: 0n, segmentBase: 0n };
  // A kernel of the upper half runs where it was loaded until it has set paging up.
  const imageBase = [image, ...image.others.values()].flatMap(({ segments }) => segments)
    .map((segment) => loadAddressOf(segment) - segment.address)
    .find((moved) => moved !== 0n && isCode(moved));
  return { imageBase: imageBase ?? 0n, segmentBase: 0n };
}

/**
 * The linear address of a label or of another place in the source, or the value of a constant.
 *
 * @throws {RangeError} When the guest defines no such name; the message has the nearest.
 */
export function labelAddress(cpu: CodeOf, label: string): bigint {
  return labelAddresses(cpu, label)[0];
}

/**
 * The same of a line that was inlined into several functions: of each of them, the lowest first.
 *
 * @throws As {@linkcode labelAddress} does.
 */
export function labelAddresses(cpu: CodeOf, label: string): bigint[] {
  const { image } = cpu;
  const addresses = addressesOf(image, label);
  if (addresses.length === 0) throw noSuchPlace(image, label);
  if (image.isConstant(label)) return addresses;
  const { segmentBase } = codeLocation(cpu);
  return addresses.map((address) => address + segmentBase);
}

/** How wide the code is that CS selects. */
export function codeBits({ efer, cs }: Registers): CodeBits {
  if (efer.lma && cs.l) return 64;
  return cs.db ? 32 : 16;
}

/** The linear address of the next instruction: RIP behind the base of CS. */
export function linearInstructionPointer(registers: Registers): bigint {
  const { cs, rip } = registers;
  // In 64-bit mode CS has no base, whatever its descriptor says (Intel SDM Vol. 3A, 3.4.4).
  return codeBits(registers) === 64 ? rip : BigInt.asUintN(64, cs.base + rip);
}

/** The line of assembly whose first byte lies at a linear address: one of a compiler's may be many instructions. */
export function sourceLineAt({ image, registers }: CodeOf, linear: bigint): SourceLine | undefined {
  const address = linear - imageBaseAt(image, linear, registers.cs.base).imageBase;
  const line = image.lineOf(address);
  return line?.address === address && !isCompiled(line) ? line : undefined;
}
