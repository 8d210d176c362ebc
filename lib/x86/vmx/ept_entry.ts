import { flagAt, flagsToValue, type FlagTable, getFlag } from "../registers/flags.ts";
import { PAGE_ENTRY_ADDRESS, type PageLevel, pagingFormats } from "../paging/page_levels.ts";
import { PHYSICAL_ADDRESS_BITS } from "../paging/canonical.ts";
import { hex } from "../hex.ts";
import { memoryTypeCode, memoryTypeName, type VmxMemoryType } from "./vmx_basic.ts";

/** Flags of the entries of EPT's tables (Intel SDM Vol. 3C, tables 28-1 to 28-6). */
export type EptEntryFlag =
  | ("r" | "w" | "x" | "memory_type" | "ipat" | "ps" | "a" | "d")
  | ("xu" | "vgp" | "pw" | "sss" | "spp" | "sve");

/**
 * EPT's entries by name. `memory_type` and `ipat` (ignore PAT) count where an entry maps a page, `ps` says
 * that one above the last level does. The rest is an address (Intel SDM Vol. 3C, 28.3.2).
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

/** How many levels of tables a walk passes (Intel SDM Vol. 3C, 24.6.11). */
export type EptWalkLength = 4 | 5;

/** The pages that EPT has (Intel SDM Vol. 3C, 28.3.2). */
export type EptPageSize = "4K" | "2M" | "1G";

/** Bytes of an entry (Intel SDM Vol. 3C, 28.3.2). */
export const EPT_ENTRY_SIZE = 8;

const GUEST_BITS_OF_LEVEL = 9;
const PAGE_BITS = 12;

/**
 * The levels of EPT's tables from the root down: those of paging in long mode (Intel SDM Vol. 3C, 28.3.2).
 *
 * @param walkLength 4 or 5.
 */
export function eptLevels(walkLength: EptWalkLength): readonly PageLevel[] {
  return pagingFormats[walkLength === 4 ? "4-level" : "5-level"].levels;
}

/**
 * How many bits of a guest-physical address so many levels translate (Intel SDM Vol. 3C, 28.3.2).
 *
 * @param walkLength 4 or 5.
 */
export function eptAddressBits(walkLength: EptWalkLength): number {
  return walkLength * GUEST_BITS_OF_LEVEL + PAGE_BITS;
}

/** What an EPT pointer says (Intel SDM Vol. 3C, 24.6.11). */
export interface EptPointer {
  /** The address of the root table. */
  root: number;
  /** How the tables are cached: UC or WB. Default WB. */
  memoryType?: VmxMemoryType;
  /** How many levels of tables there are. Default 4. */
  walkLength?: EptWalkLength;
  /** Accessed and dirty flags are kept. Default false. */
  accessedDirty?: boolean;
}

/**
 * A decoded EPT pointer; `walkLength` and `memoryType` are undefined where their codes are reserved (Intel SDM Vol.
 * 3C, 24.6.11).
 */
export interface DecodedEptPointer {
  /** The address of the root table. */
  root: number;
  /** How the tables are cached. */
  memoryType: VmxMemoryType | undefined;
  /** How many levels of tables there are. */
  walkLength: EptWalkLength | undefined;
  /** Accessed and dirty flags are kept. */
  accessedDirty: boolean;
}

const eptPointerFields: FlagTable = {
  memory_type: flagAt(0, 3),
  /** One less than the levels. */
  walk_length: flagAt(3, 3),
  accessed_dirty: flagAt(6),
};

/**
 * The value of the VMCS field `ept_pointer` (Intel SDM Vol. 3C, 24.6.11). The root's address is aligned down
 * to 4 KiB: its low bits have no place.
 *
 * @param physicalAddressBits The CPU's physical-address width.
 * @throws {RangeError} When the address is none or past the width, or the memory type neither UC nor WB, or
 *   the walk length neither 4 nor 5.
 * @example
 * ```ts
 * import { decodeEptPointer, eptPointer } from "@vmexit/vmexit/vmx";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(eptPointer({ root: 0x1_2345 }), 0x1_201en);
 * assertEquals(decodeEptPointer(0x1_205en).accessedDirty, true);
 * ```
 */
export function eptPointer(
  { root, memoryType = "WB", walkLength = 4, accessedDirty = false }: EptPointer,
  physicalAddressBits: number = PHYSICAL_ADDRESS_BITS,
): bigint {
  if (!Number.isSafeInteger(root) || root < 0 || root >= 2 ** physicalAddressBits) {
    throw new RangeError(
      `Cannot use ${
        Number.isInteger(root) ? hex(root) : root
      } as the address of EPT's root: physical addresses have ${physicalAddressBits} bits; give one below ${
        hex(2 ** physicalAddressBits)
      }`,
    );
  }
  if (walkLength !== 4 && walkLength !== 5) {
    throw new RangeError(`Cannot use ${walkLength} as EPT's walk length: it is 4 or 5`);
  }
  const fields = flagsToValue(eptPointerFields, {
    memory_type: memoryTypeCode(memoryType, ["UC", "WB"]),
    walk_length: walkLength - 1,
    accessed_dirty: accessedDirty,
  });
  return BigInt(root) & PAGE_ENTRY_ADDRESS | fields;
}

/**
 * An EPT pointer by its parts (Intel SDM Vol. 3C, 24.6.11).
 *
 * @param value The VMCS's 64 bits.
 */
export function decodeEptPointer(value: bigint): DecodedEptPointer {
  const length = Number(getFlag(eptPointerFields, "walk_length", value)) + 1;
  return {
    root: Number(value & PAGE_ENTRY_ADDRESS),
    memoryType: memoryTypeName(Number(getFlag(eptPointerFields, "memory_type", value))),
    walkLength: length === 4 || length === 5 ? length : undefined,
    accessedDirty: getFlag(eptPointerFields, "accessed_dirty", value) === true,
  };
}
