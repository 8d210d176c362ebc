/** Linear-address bits that 4-level paging translates; bits above repeat the highest of them. */
export const LINEAR_ADDRESS_BITS = 48;
/** Linear-address bits that 5-level paging translates. */
export const LINEAR_ADDRESS_BITS_5_LEVEL = 57;
/** The widest physical address that the architecture has: bits 51:0. */
export const PHYSICAL_ADDRESS_BITS = 52;
const REGISTER_BITS = 64;

/**
 * Whether bits 63 down to `linearAddressBits - 1` of a linear address are all alike (Intel SDM Vol. 1,
 * 3.3.7.1).
 *
 * @example
 * ```ts
 * import { isCanonical } from "@vmexit/vmexit/x86";
 * import { assert, assertFalse } from "@std/assert";
 *
 * assert(isCanonical(0xffff_8000_0000_0000n));
 * assertFalse(isCanonical(0x8000_0000_0000n));
 * ```
 */
export function isCanonical(
  linear: bigint,
  linearAddressBits: number = LINEAR_ADDRESS_BITS,
): boolean {
  return linear === BigInt.asUintN(REGISTER_BITS, BigInt.asIntN(linearAddressBits, linear));
}
