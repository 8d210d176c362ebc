import { LINEAR_ADDRESS_BITS, LINEAR_ADDRESS_BITS_5_LEVEL } from "./canonical.ts";
import { cr0Flags, cr4Flags, eferFlags } from "../registers/flag_tables.ts";
import { getFlag } from "../registers/flags.ts";

/**
 * Names of the page sizes. 4 MiB pages are those of 32-bit paging; it has no 2 MiB and 1 GiB ones (Intel SDM Vol. 3A,
 * table 4-1).
 */
export type PageSizeName = "4K" | "2M" | "4M" | "1G";

/** Bytes of a page by its name. */
export const PAGE_SIZE: Readonly<Record<PageSizeName, number>> = {
  "4K": 2 ** 12,
  "2M": 2 ** 21,
  "4M": 2 ** 22,
  "1G": 2 ** 30,
};

/** The ways in which the CPU translates linear addresses, by the manual's names (Intel SDM Vol. 3A, 4.1.1). */
export type PagingMode = "32-bit" | "PAE" | "4-level" | "5-level";

/** The entries of page tables by the manual's names, from the root down (Intel SDM Vol. 3A, table 4-2). */
export type PageEntryLevel = "PML5E" | "PML4E" | "PDPTE" | "PDE" | "PTE";

/** One level of the page tables (Intel SDM Vol. 3A, 4.2). */
export interface PageLevel {
  /** The name of its entries. */
  readonly entry: PageEntryLevel;
  /** The name of its tables. */
  readonly table: "PML5" | "PML4" | "PDPT" | "PD" | "PT";
  /** The lowest bit of a linear address that chooses the entry. */
  readonly shift: number;
  /** How many bits of a linear address choose the entry. */
  readonly indexBits: number;
  /** The pages that its entries can map; absent where they can map none. */
  readonly page?: PageSizeName;
  /** Whether its entries have R/W, U/S and XD; those of PAE's PDPT have none of them. */
  readonly hasPermissions: boolean;
}

/** What the tables of a paging mode look like (Intel SDM Vol. 3A, 4.1.1). */
export interface PagingFormat {
  /** The levels, from the root down. */
  readonly levels: readonly PageLevel[];
  /** Bytes of one entry. */
  readonly entrySize: 4 | 8;
  /** Bits of a linear address that are translated. */
  readonly linearAddressBits: number;
  /** The page that `"auto"` takes where addresses are aligned for it. */
  readonly largePage: PageSizeName;
  /** Bits of CR3 that are the address of the root. */
  readonly rootAddress: bigint;
}

/** Bytes of one table. PAE's PDPT has 32 bytes; it is given a page of its own all the same (Intel SDM Vol. 3A, 4.2). */
export const PAGE_TABLE_SIZE = 4096;
/** Bits 51:12 of an entry: the physical address that it leads to (Intel SDM Vol. 3A, 4.5.4). */
export const PAGE_ENTRY_ADDRESS = 0x000f_ffff_ffff_f000n;

const LONG_INDEX_BITS = 9;
const PAGE_TABLE: PageLevel = level("PTE", "PT", 12, "4K");
const PAGE_DIRECTORY: PageLevel = level("PDE", "PD", 21, "2M");
const FOUR_LEVELS: readonly PageLevel[] = [
  level("PML4E", "PML4", 39),
  level("PDPTE", "PDPT", 30, "1G"),
  PAGE_DIRECTORY,
  PAGE_TABLE,
];

/** The tables of each paging mode (Intel SDM Vol. 3A, 4.3, 4.4.2 and 4.5.4). */
export const pagingFormats: Readonly<Record<PagingMode, PagingFormat>> = {
  "32-bit": {
    levels: [
      { ...level("PDE", "PD", 22, "4M"), indexBits: 10 },
      { ...PAGE_TABLE, indexBits: 10 },
    ],
    entrySize: 4,
    linearAddressBits: 32,
    largePage: "4M",
    rootAddress: 0xffff_f000n,
  },
  PAE: {
    levels: [
      { ...level("PDPTE", "PDPT", 30), indexBits: 2, hasPermissions: false },
      PAGE_DIRECTORY,
      PAGE_TABLE,
    ],
    entrySize: 8,
    linearAddressBits: 32,
    largePage: "2M",
    rootAddress: 0xffff_ffe0n,
  },
  "4-level": {
    levels: FOUR_LEVELS,
    entrySize: 8,
    linearAddressBits: LINEAR_ADDRESS_BITS,
    largePage: "2M",
    rootAddress: PAGE_ENTRY_ADDRESS,
  },
  "5-level": {
    levels: [level("PML5E", "PML5", 48), ...FOUR_LEVELS],
    entrySize: 8,
    linearAddressBits: LINEAR_ADDRESS_BITS_5_LEVEL,
    largePage: "2M",
    rootAddress: PAGE_ENTRY_ADDRESS,
  },
};

/**
 * The byte offset, in its table, of the entry that translates `linear` at `level` (Intel SDM Vol. 3A, 4.5.4).
 *
 * @param level The table's level.
 * @param linear The linear address.
 * @param entrySize Bytes of an entry: 4 in 32-bit paging, 8 elsewhere.
 */
export function entryOffset(
  { shift, indexBits }: PageLevel,
  linear: bigint,
  entrySize: PagingFormat["entrySize"],
): number {
  return Number(BigInt.asUintN(indexBits, linear >> BigInt(shift))) * entrySize;
}

function level(
  entry: PageEntryLevel,
  table: PageLevel["table"],
  shift: number,
  page?: PageSizeName,
): PageLevel {
  return {
    entry,
    table,
    shift,
    indexBits: LONG_INDEX_BITS,
    hasPermissions: true,
    ...page === undefined ? {} : { page },
  };
}

/** The registers that decide how linear addresses are translated (Intel SDM Vol. 3A, 4.1.1). */
export interface PagingRegisters {
  /** CR0. */
  cr0: bigint;
  /** CR4. */
  cr4: bigint;
  /** EFER. */
  efer: bigint;
}

/**
 * How a CPU with these registers translates linear addresses, or undefined where paging is off (Intel SDM
 * Vol. 3A, 4.1.1).
 *
 * @param registers CR0, CR4 and EFER.
 * @example
 * ```ts
 * import { pagingModeOf } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(pagingModeOf({ cr0: 0x8000_0001n, cr4: 0x20n, efer: 0x500n }), "4-level");
 * assertEquals(pagingModeOf({ cr0: 0x8000_0001n, cr4: 0x20n, efer: 0n }), "PAE");
 * assertEquals(pagingModeOf({ cr0: 0x1n, cr4: 0n, efer: 0n }), undefined);
 * ```
 */
export function pagingModeOf({ cr0, cr4, efer }: PagingRegisters): PagingMode | undefined {
  if (!getFlag(cr0Flags, "pg", cr0)) return undefined;
  if (!getFlag(cr4Flags, "pae", cr4)) return "32-bit";
  if (!getFlag(eferFlags, "lma", efer)) return "PAE";
  return getFlag(cr4Flags, "la57", cr4) ? "5-level" : "4-level";
}
