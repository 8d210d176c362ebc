import { PHYSICAL_ADDRESS_BITS } from "../paging/canonical.ts";
import type { MemoryWrite } from "../placement.ts";
import { hex } from "../hex.ts";

/** The alignment of every region and map that VMX and SVM read: 4 KiB. */
export const REGION_ALIGNMENT = 4096;

/**
 * Where a guest hypervisor's region goes: a VMXON region, a VMCS, a VMCB, a bitmap. Hardware refuses those
 * that are misaligned, or ignores the low bits of their address (Intel SDM Vol. 3C, 24.11.5 and 24.6.4; AMD
 * APM Vol. 2, 15.5.1, 15.10 and 15.11).
 *
 * @param what Its name, for messages.
 * @param gpa Its guest-physical address.
 * @param bytes What it holds.
 * @param physicalAddressBits The CPU's physical-address width.
 * @throws {RangeError} When the address is not a multiple of 4096, or the region ends past the width.
 * @example
 * ```ts
 * import { placeRegion } from "@vmexit/vmexit/svm";
 * import { assertEquals } from "@std/assert";
 *
 * const { gpa, bytes } = placeRegion("VMCS", 0x3000, new Uint8Array(4096));
 * assertEquals([gpa, bytes.length], [0x3000, 4096]);
 * ```
 */
export function placeRegion(
  what: string,
  gpa: number,
  bytes: Uint8Array<ArrayBuffer>,
  physicalAddressBits: number = PHYSICAL_ADDRESS_BITS,
): MemoryWrite {
  checkRegionAddress(what, gpa);
  const end = 2 ** physicalAddressBits;
  if (gpa + bytes.length > end) {
    throw new RangeError(
      `Cannot place the ${what} at ${
        hex(gpa)
      }: physical addresses have ${physicalAddressBits} bits; stay below ${hex(end)}`,
    );
  }
  return { gpa, bytes, what };
}

/**
 * Refuses an address at which no region can lie.
 *
 * @throws {RangeError} When it is not a multiple of 4096.
 */
export function checkRegionAddress(what: string, gpa: number): void {
  if (Number.isSafeInteger(gpa) && gpa >= 0 && gpa % REGION_ALIGNMENT === 0) return;
  throw new RangeError(
    `Cannot place the ${what} at ${
      Number.isInteger(gpa) ? hex(gpa) : gpa
    }: its address is a multiple of ${hex(REGION_ALIGNMENT)}; give one that is`,
  );
}
