import { cr0Flags, cr4Flags, eferFlags } from "../registers/flag_tables.ts";
import { getFlag } from "../registers/flags.ts";
import type { PagingMode } from "./page_levels.ts";

/** The registers that decide how linear addresses are translated. */
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
 * @example
 * ```ts
 * import { pagingModeOf } from "./paging_mode.ts";
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
