import type { Segment } from "../segment.ts";

const BITMAP_WORDS = 4;

/** `interrupt_bitmap` with none of its 256 bits set. */
export function noInterrupts(): bigint[] {
  return new Array<bigint>(BITMAP_WORDS).fill(0n);
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
