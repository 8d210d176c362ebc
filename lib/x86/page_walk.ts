import { isCanonical, PHYSICAL_ADDRESS_BITS } from "./canonical.ts";
import { eferFlags, pageEntryFlags } from "./flag_tables.ts";
import { getFlag } from "./flags.ts";
import {
  entryOffset,
  PAGE_ENTRY_ADDRESS,
  type PageEntryLevel,
  type PageLevel,
  pageLevels,
} from "./page_levels.ts";
import { PAGE_SIZE, type PageSizeName } from "./page_mapping.ts";

/** What to walk. */
export interface PageWalkOptions {
  /** CR3; its low 12 bits are not looked at. */
  cr3: bigint;
  /** EFER; without its NXE bit (the default has it) a set XD bit is a reserved one. */
  efer?: bigint;
  /** The address to translate. Above 2^53 only a bigint is exact. */
  linear: number | bigint;
  /** The 8 bytes at a guest-physical address, or undefined where there is no memory. */
  read: (gpa: number) => bigint | undefined;
  /** The CPU's physical-address width; entry bits above are reserved. 52, the architecture's, by default. */
  physicalAddressBits?: number;
}

/** What an address may be used for: what every entry on the way to it allows. */
export interface PagePermissions {
  /** May be written to. */
  writable: boolean;
  /** May be used at CPL 3. */
  user: boolean;
  /** Instructions may be fetched. */
  executable: boolean;
}

/** An entry that the walk read. */
export interface WalkedEntry {
  /** Which level's. */
  level: PageEntryLevel;
  /** Where it lies in guest-physical memory. */
  gpa: number;
  /** Its 64 bits. */
  entry: bigint;
  /** P. */
  present: boolean;
  /** R/W. */
  writable: boolean;
  /** U/S. */
  user: boolean;
  /** XD. */
  noExecute: boolean;
  /** A: the CPU has used it. */
  accessed: boolean;
  /** D: the CPU has written through it; means something only where `pageSize` is there. */
  dirty: boolean;
  /** The size of the page that it maps; absent where it leads to a table. */
  pageSize?: PageSizeName;
}

/** Where the address leads. */
export interface Translation extends PagePermissions {
  /** The guest-physical address. */
  physical: number;
  /** The size of the page that it lies in. */
  pageSize: PageSizeName;
}

/** Why a walk ended early. */
export type WalkFaultKind =
  | "not-present"
  | "reserved-bit"
  | "non-canonical"
  | "outside-memory";

/** Why the address leads nowhere, and at which level. */
export interface WalkFault {
  /** The reason. `outside-memory`: the entry itself lies where there is no memory. */
  fault: WalkFaultKind;
  /** The entry that is to blame; absent for a non-canonical address, which no table is asked about. */
  level?: PageEntryLevel;
}

/** A walk with all that it passed. */
export interface PageWalk {
  /** The address that was translated, with 64 bits. */
  linear: bigint;
  /** CR3 as given. */
  cr3: bigint;
  /** The entries that were read, root first. */
  levels: WalkedEntry[];
  /** `"physical" in result` tells the two apart. */
  result: Translation | WalkFault;
}

const DEFAULT_EFER = 1n << BigInt(eferFlags.nxe.bit);

/**
 * Translates a linear address as the CPU does with 4-level paging (Intel SDM Vol. 3A, 4.5.4), and keeps every
 * entry on the way, so that a failure can be explained ({@linkcode describeWalk}).
 *
 * It asks whether an address is mapped, not whether an access is allowed: permissions are in the result.
 *
 * @example
 * ```ts
 * import { walkPageTables } from "./page_walk.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const walk = walkPageTables({ cr3: 0x1000n, linear: 0x4000, read: () => 0n });
 * assertEquals(walk.result, { fault: "not-present", level: "PML4E" });
 * ```
 */
export function walkPageTables(options: PageWalkOptions): PageWalk {
  const { cr3, read, efer = DEFAULT_EFER, physicalAddressBits = PHYSICAL_ADDRESS_BITS } = options;
  const linear = BigInt.asUintN(64, BigInt(options.linear));
  const levels: WalkedEntry[] = [];
  const end = (result: Translation | WalkFault): PageWalk => ({ linear, cr3, levels, result });
  if (!isCanonical(linear)) return end({ fault: "non-canonical" });

  const noExecuteEnabled = getFlag(eferFlags, "nxe", efer) === true;
  let table = Number(cr3 & PAGE_ENTRY_ADDRESS);
  const allowed: PagePermissions = { writable: true, user: true, executable: true };
  for (const level of pageLevels) {
    const gpa = table + entryOffset(level, linear);
    const value = read(gpa);
    if (value === undefined) return end({ fault: "outside-memory", level: level.entry });
    const entry = decodeEntry(level, gpa, value);
    levels.push(entry);
    if (!entry.present) return end({ fault: "not-present", level: level.entry });
    if (value & reservedBits(level, entry, noExecuteEnabled, physicalAddressBits)) {
      return end({ fault: "reserved-bit", level: level.entry });
    }
    allowed.writable &&= entry.writable;
    allowed.user &&= entry.user;
    allowed.executable &&= !entry.noExecute;
    if (entry.pageSize !== undefined) {
      return end({
        physical: physicalAddress(entry, linear),
        pageSize: entry.pageSize,
        ...allowed,
      });
    }
    table = Number(value & PAGE_ENTRY_ADDRESS);
  }
  throw new Error("the last level of the page tables maps pages: the walk ends there");
}

function decodeEntry(level: PageLevel, gpa: number, entry: bigint): WalkedEntry {
  const has = (flag: string) => getFlag(pageEntryFlags, flag, entry) === true;
  const walked: WalkedEntry = {
    level: level.entry,
    gpa,
    entry,
    present: has("p"),
    writable: has("rw"),
    user: has("us"),
    noExecute: has("xd"),
    accessed: has("a"),
    dirty: has("d"),
  };
  const mapsPage = level.page === "4K" || (level.page !== undefined && has("ps"));
  if (mapsPage && walked.present) walked.pageSize = level.page;
  return walked;
}

/** Bits that must be 0 in a present entry (Intel SDM Vol. 3A, 4.7, and tables 4-15 to 4-20). */
function reservedBits(
  level: PageLevel,
  { pageSize }: WalkedEntry,
  noExecuteEnabled: boolean,
  physicalAddressBits: number,
): bigint {
  let reserved = PAGE_ENTRY_ADDRESS & ~((1n << BigInt(physicalAddressBits)) - 1n);
  if (!noExecuteEnabled) reserved |= 1n << BigInt(pageEntryFlags.xd.bit);
  if (level.page === undefined) reserved |= 1n << BigInt(pageEntryFlags.ps.bit);
  if (pageSize === "2M" || pageSize === "1G") {
    // Bit 12 of an entry that maps a large page is its PAT bit; the address starts above the page size.
    reserved |= BigInt(PAGE_SIZE[pageSize] - 1) & PAGE_ENTRY_ADDRESS & ~BigInt(PAGE_SIZE["4K"]);
  }
  return reserved;
}

function physicalAddress({ entry, pageSize }: WalkedEntry, linear: bigint): number {
  const offsetMask = BigInt(PAGE_SIZE[pageSize!] - 1);
  return Number((entry & PAGE_ENTRY_ADDRESS & ~offsetMask) | (linear & offsetMask));
}
