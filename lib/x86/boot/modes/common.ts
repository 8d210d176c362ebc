import type { DescriptorTable, SegmentName, SpecialRegisters } from "../cpu_state.ts";
import { apicBaseFlags } from "../../registers/flag_tables.ts";
import { flagsToValue } from "../../registers/flags.ts";
import { hex } from "../../hex.ts";
import { LOCAL_APIC } from "../../layout.ts";
import type { Segment } from "../../registers/segment.ts";

const BITMAP_WORDS = 4;

/** The control registers of a boot state that are not the same in all of them. */
export interface ControlRegisters {
  /** CR0. */
  cr0: bigint;
  /** CR3; 0 where left out. */
  cr3?: bigint;
  /** CR4; 0 where left out. */
  cr4?: bigint;
  /** EFER; 0 where left out. */
  efer?: bigint;
}

/** All special registers of a boot state: the local APIC at its address after reset, no interrupt pending. */
export function specialRegisters(
  segments: Record<SegmentName, Segment> & Record<"gdt" | "idt", DescriptorTable>,
  { cr0, cr3 = 0n, cr4 = 0n, efer = 0n }: ControlRegisters,
): SpecialRegisters {
  return {
    ...segments,
    cr0,
    cr2: 0n,
    cr3,
    cr4,
    cr8: 0n,
    efer,
    apic_base: BigInt(LOCAL_APIC) | flagsToValue(apicBaseFlags, { bsp: true, en: true }),
    interrupt_bitmap: new Array<bigint>(BITMAP_WORDS).fill(0n),
  };
}

/** A segment register after the null selector was loaded. */
export function unusableSegment(): Segment {
  return {
    base: 0n,
    limit: 0,
    selector: 0,
    type: 0,
    present: 0,
    dpl: 0,
    db: 0,
    s: 0,
    l: 0,
    g: 0,
    avl: 0,
    unusable: 1,
  };
}

/** What tells the segments of {@linkcode segment16} apart. */
export type Segment16 =
  & Pick<Segment, "base" | "limit" | "selector" | "type">
  & Partial<Pick<Segment, "dpl" | "g">>;

/** A segment register of 16-bit code or of data, at CPL 0 and with its limit in bytes unless told otherwise. */
export function segment16({ base, limit, selector, type, dpl = 0, g = 0 }: Segment16): Segment {
  return {
    base,
    limit,
    selector,
    type,
    present: 1,
    dpl,
    db: 0,
    s: 1,
    l: 0,
    g,
    avl: 0,
    unusable: 0,
  };
}

/**
 * A register's value as an offset of so many bits.
 *
 * @throws {RangeError} When it is not a whole number that fits.
 */
export function offsetOf(name: string, value: number | bigint, bits: 16 | 32): bigint {
  const exact = typeof value === "bigint" || Number.isSafeInteger(value);
  if (exact && BigInt.asUintN(bits, BigInt(value)) === BigInt(value)) return BigInt(value);
  throw new RangeError(
    `Cannot set ${name} as ${
      exact ? hex(value) : value
    }: it has ${bits} bits in this mode; give 0 to ${hex(2 ** bits - 1)}`,
  );
}
