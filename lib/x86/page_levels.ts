import type { PageSizeName } from "./page_mapping.ts";

/** The entries of 4-level paging by the manual's names, from the root down. */
export type PageEntryLevel = "PML4E" | "PDPTE" | "PDE" | "PTE";

/** One level of the page tables. */
export interface PageLevel {
  /** The name of its entries. */
  readonly entry: PageEntryLevel;
  /** The name of its tables. */
  readonly table: "PML4" | "PDPT" | "PD" | "PT";
  /** The lowest bit of a linear address that chooses the entry. */
  readonly shift: number;
  /** The pages that its entries can map; the root's can map none. */
  readonly page?: PageSizeName;
}

/** The levels of 4-level paging, from the root down (Intel SDM Vol. 3A, 4.5.4). */
export const pageLevels: readonly PageLevel[] = [
  { entry: "PML4E", table: "PML4", shift: 39 },
  { entry: "PDPTE", table: "PDPT", shift: 30, page: "1G" },
  { entry: "PDE", table: "PD", shift: 21, page: "2M" },
  { entry: "PTE", table: "PT", shift: 12, page: "4K" },
];

/** Bytes of one table: 512 entries of 8 bytes. */
export const PAGE_TABLE_SIZE = 4096;
/** Bytes of one entry. */
export const PAGE_ENTRY_SIZE = 8;
/** Bits 51:12 of an entry and of CR3: the physical address that it leads to. */
export const PAGE_ENTRY_ADDRESS = 0x000f_ffff_ffff_f000n;

const INDEX_MASK = 0x1ffn;

/** The byte offset, in its table, of the entry that translates `linear` at `level`. */
export function entryOffset(level: PageLevel, linear: bigint): number {
  return Number((linear >> BigInt(level.shift)) & INDEX_MASK) * PAGE_ENTRY_SIZE;
}
