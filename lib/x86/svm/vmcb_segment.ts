import { type Struct, struct, u16, u32, u64 } from "../../ffi/struct.ts";
import { attributesOf, attributeWord, type Segment } from "../registers/segment.ts";

/** A segment register in a VMCB. */
export interface VmcbSegment {
  /** What the guest sees in the register. */
  selector: number;
  /** Bits 47:40 of the descriptor in bits 7:0, bits 55:52 in bits 11:8. */
  attrib: number;
  /** The highest offset, in bytes. */
  limit: number;
  /** The linear address. */
  base: bigint;
}

/** A segment register in a VMCB, 16 bytes (AMD APM Vol. 2, table B-2). */
export const vmcb_seg: Struct<VmcbSegment> = struct("vmcb_seg", {
  selector: u16,
  attrib: u16,
  limit: u32,
  base: u64,
});

/** A VMCB has the descriptor's attribute word without the four bits of the limit in its middle (APM Vol. 2, 15.5.1). */
const BELOW_LIMIT = 0x0ff;
const ABOVE_LIMIT = 0xf00;
const LIMIT_BITS = 4;

/**
 * A segment register as a VMCB has it. One that is unusable is not present there.
 *
 * @example
 * ```ts
 * import { segmentToVmcb } from "./vmcb_segment.ts";
 * import { descriptorToSegment } from "../registers/segment.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const code = descriptorToSegment(0x00af_9b00_0000_ffffn, 0x08);
 * assertEquals(segmentToVmcb(code), { selector: 8, attrib: 0xa9b, limit: 0xffff_ffff, base: 0n });
 * ```
 */
export function segmentToVmcb(segment: Segment): VmcbSegment {
  const { selector, limit, base, unusable } = segment;
  const word = attributeWord(segment);
  const attrib = (word & BELOW_LIMIT) | (word >> LIMIT_BITS & ABOVE_LIMIT);
  return { selector, attrib: unusable ? 0 : attrib, limit, base };
}

/** A segment register as `struct kvm_segment` has it; unusable where the VMCB's is not present. */
export function vmcbToSegment({ selector, attrib, limit, base }: VmcbSegment): Segment {
  const word = (attrib & BELOW_LIMIT) | (attrib & ABOVE_LIMIT) << LIMIT_BITS;
  const attributes = attributesOf(word);
  return { base, limit, selector, ...attributes, unusable: attributes.present ? 0 : 1 };
}
