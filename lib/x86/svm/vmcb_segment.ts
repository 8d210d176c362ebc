import { type Struct, struct, u16, u32, u64 } from "../../ffi/struct.ts";
import type { Segment } from "../segment.ts";

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

/** Where the attributes lie (AMD APM Vol. 2, 15.5.1). */
const ATTRIBUTES = {
  type: { bit: 0, width: 4 },
  s: { bit: 4, width: 1 },
  dpl: { bit: 5, width: 2 },
  present: { bit: 7, width: 1 },
  avl: { bit: 8, width: 1 },
  l: { bit: 9, width: 1 },
  db: { bit: 10, width: 1 },
  g: { bit: 11, width: 1 },
} as const;
type Attribute = keyof typeof ATTRIBUTES;
const attributeNames = Object.keys(ATTRIBUTES) as Attribute[];

/**
 * A segment register as a VMCB has it. One that is unusable is not present there.
 *
 * @example
 * ```ts
 * import { segmentToVmcb } from "./vmcb_segment.ts";
 * import { descriptorToSegment } from "../segment.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const code = descriptorToSegment(0x00af_9b00_0000_ffffn, 0x08);
 * assertEquals(segmentToVmcb(code), { selector: 8, attrib: 0xa9b, limit: 0xffff_ffff, base: 0n });
 * ```
 */
export function segmentToVmcb(segment: Segment): VmcbSegment {
  const { selector, limit, base, unusable } = segment;
  let attrib = 0;
  for (const name of attributeNames) attrib |= segment[name] << ATTRIBUTES[name].bit;
  return { selector, attrib: unusable ? 0 : attrib, limit, base };
}

/** A segment register as `struct kvm_segment` has it; unusable where the VMCB's is not present. */
export function vmcbToSegment({ selector, attrib, limit, base }: VmcbSegment): Segment {
  const segment = { base, limit, selector } as Segment;
  for (const name of attributeNames) {
    const { bit, width } = ATTRIBUTES[name];
    segment[name] = attrib >> bit & 2 ** width - 1;
  }
  segment.unusable = segment.present ? 0 : 1;
  return segment;
}
