import { flagAt, type FlagTable } from "../registers/flags.ts";
import { type PageLevel, pagingFormats } from "../paging/page_levels.ts";

/** Flags of the entries of EPT's tables (Intel SDM Vol. 3C, tables 28-1 to 28-6). */
export type EptEntryFlag =
  | ("r" | "w" | "x" | "memory_type" | "ipat" | "ps" | "a" | "d")
  | ("xu" | "vgp" | "pw" | "sss" | "spp" | "sve");

/**
 * EPT's entries by name. `memory_type` and `ipat` (ignore PAT) count where an entry maps a page, `ps` says
 * that one above the last level does. The rest is an address.
 */
export const eptEntryFlags: FlagTable<EptEntryFlag> = {
  r: flagAt(0),
  w: flagAt(1),
  x: flagAt(2),
  memory_type: flagAt(3, 3),
  ipat: flagAt(6),
  ps: flagAt(7),
  a: flagAt(8),
  d: flagAt(9),
  xu: flagAt(10),
  vgp: flagAt(57),
  pw: flagAt(58),
  sss: flagAt(60),
  spp: flagAt(61),
  sve: flagAt(63),
};

/** How many levels of tables a walk passes. */
export type EptWalkLength = 4 | 5;

/** The pages that EPT has. */
export type EptPageSize = "4K" | "2M" | "1G";

/** Bytes of an entry. */
export const EPT_ENTRY_SIZE = 8;

const GUEST_BITS_OF_LEVEL = 9;
const PAGE_BITS = 12;

/** The levels of EPT's tables from the root down: those of paging in long mode. */
export function eptLevels(walkLength: EptWalkLength): readonly PageLevel[] {
  return pagingFormats[walkLength === 4 ? "4-level" : "5-level"].levels;
}

/** How many bits of a guest-physical address so many levels translate. */
export function eptAddressBits(walkLength: EptWalkLength): number {
  return walkLength * GUEST_BITS_OF_LEVEL + PAGE_BITS;
}
