import { hex } from "./hex.ts";

/** Bytes that a boot state needs in guest memory. */
export interface MemoryWrite {
  /** Guest-physical address. */
  gpa: number;
  /** What to store there. */
  bytes: Uint8Array<ArrayBuffer>;
  /** What it is, for messages: "GDT", "PML4", "PDPT of linear 0x0", … */
  what: string;
  /** Whether a guest that is loaded over it replaces it. Left out: such a guest is refused. */
  isReplaceable?: boolean;
}

/** A range of guest-physical memory and what lies there. */
export interface Placement {
  /** What lies there, for messages, without an article: "GDT", "image". */
  what: string;
  /** Guest-physical address of the first byte. */
  gpa: number;
  /** Length in bytes. */
  size: number;
}

/**
 * Refuses things that would lie on each other, or past the end of the memory.
 *
 * @param placements What is to be placed. Empty ones never overlap.
 * @param memorySize Bytes of memory from address 0 on, where the end is to be watched too.
 * @throws {RangeError} Naming both things that overlap, or the one whose address is outside or is none.
 * @example
 * ```ts
 * import { checkPlacements } from "@vmexit/vmexit/x86";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(
 *   () =>
 *     checkPlacements([
 *       { what: "GDT", gpa: 0x5000, size: 0x28 },
 *       { what: "PML4", gpa: 0x1000, size: 0x5000 },
 *     ]),
 *   RangeError,
 *   "the GDT",
 * );
 * ```
 */
export function checkPlacements(
  placements: readonly Placement[],
  memorySize: number = Number.MAX_SAFE_INTEGER,
): void {
  const sorted = placements.filter(({ size }) => size > 0).sort((a, b) => a.gpa - b.gpa);
  sorted.forEach((placement, index) => {
    if (!Number.isSafeInteger(placement.gpa) || placement.gpa < 0) {
      throw new RangeError(
        `Cannot place the ${placement.what} at ${placement.gpa}: it is not an address; give a whole number from 0 on`,
      );
    }
    if (placement.gpa + placement.size > memorySize) {
      throw new RangeError(
        `Cannot place ${describe(placement)}: the memory ends at ${
          hex(memorySize)
        }; move it or give more memory`,
      );
    }
    const before = sorted[index - 1];
    if (before !== undefined && before.gpa + before.size > placement.gpa) {
      throw new RangeError(
        `Cannot place ${describe(placement)}: it overlaps ${describe(before)}; move one of them`,
      );
    }
  });
}

/**
 * {@linkcode checkPlacements} of what a boot state writes; gives it back.
 *
 * @param writes What goes into memory; given back as it is.
 * @param memorySize Bytes of memory from address 0 on, where the end is to be watched too.
 * @throws {RangeError} As {@linkcode checkPlacements} does.
 */
export function checkWrites(writes: MemoryWrite[], memorySize: number): MemoryWrite[] {
  checkPlacements(
    writes.map(({ what, gpa, bytes }) => ({ what, gpa, size: bytes.length })),
    memorySize,
  );
  return writes;
}

function describe({ what, gpa, size }: Placement): string {
  return `the ${what} at ${hex(gpa)}–${hex(gpa + size - 1)}`;
}
