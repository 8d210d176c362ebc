/**
 * Linear-address bits that 4-level paging translates; bits above repeat the highest of them (Intel SDM Vol. 3A, 4.5).
 */
export const LINEAR_ADDRESS_BITS = 48;
/** Linear-address bits that 5-level paging translates (Intel SDM Vol. 3A, 4.5). */
export const LINEAR_ADDRESS_BITS_5_LEVEL = 57;
/** The widest physical address that the architecture has: bits 51:0 (Intel SDM Vol. 3A, 4.1.4). */
export const PHYSICAL_ADDRESS_BITS = 52;
const REGISTER_BITS = 64;

/**
 * Whether bits 63 down to `linearAddressBits - 1` of a linear address are all alike (Intel SDM Vol. 1,
 * 3.3.7.1).
 *
 * @param linear The linear address, 64 bits.
 * @param linearAddressBits How many bits of it are translated: 48, or 57 with 5-level paging.
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
