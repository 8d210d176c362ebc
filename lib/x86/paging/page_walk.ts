import { isCanonical, PHYSICAL_ADDRESS_BITS } from "./canonical.ts";
import { cr0Flags, cr4Flags, eferFlags, pageEntryFlags } from "../registers/flag_tables.ts";
import { flagsToValue, getFlag } from "../registers/flags.ts";
import {
  entryOffset,
  PAGE_ENTRY_ADDRESS,
  PAGE_SIZE,
  type PageEntryLevel,
  type PageLevel,
  type PageSizeName,
  pagingFormats,
  type PagingMode,
} from "./page_levels.ts";
import { pagingModeOf } from "./paging_mode.ts";
import { addressOf4MPage, type EntryFeatures, reservedBits } from "./reserved_bits.ts";

/** What to walk. */
export interface PageWalkOptions {
  /** CR3; of its low 12 bits only those that are part of PAE's root address are looked at. */
  cr3: bigint;
  /** CR4: PAE, LA57 and PSE count. By default PAE alone is set. */
  cr4?: bigint;
  /** EFER: LMA counts; without NXE a set XD bit is a reserved one. By default LME, LMA and NXE are set. */
  efer?: bigint;
  /** The address to translate. Above 2^53 only a bigint is exact. */
  linear: number | bigint;
  /** The 8 bytes at a guest-physical address that is a multiple of 8, or undefined where there is no memory. */
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
  /** Its 64 bits; 32 in 32-bit paging. */
  entry: bigint;
  /** P. */
  present: boolean;
  /** R/W; true in PAE's PDPTEs, which have none. */
  writable: boolean;
  /** U/S; true in PAE's PDPTEs, which have none. */
  user: boolean;
  /** XD; false where entries have none. */
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
  | "too-wide"
  | "outside-memory";

/** Why the address leads nowhere, and at which level. */
export interface WalkFault {
  /**
   * The reason. `outside-memory`: the entry itself lies where there is no memory. `too-wide`: more than the 32
   * bits that linear addresses have outside long mode.
   */
  fault: WalkFaultKind;
  /** The entry that is to blame; absent where the address is, which no table is asked about then. */
  level?: PageEntryLevel;
}

/** A walk with all that it passed. */
export interface PageWalk {
  /** The address that was translated, with 64 bits. */
  linear: bigint;
  /** CR3 as given. */
  cr3: bigint;
  /** How the tables were read. */
  paging: PagingMode;
  /** The entries that were read, root first. */
  levels: WalkedEntry[];
  /** `"physical" in result` tells the two apart. */
  result: Translation | WalkFault;
}

const PAGING_IS_ON = flagsToValue(cr0Flags, { pg: true });
const DEFAULT_CR4 = flagsToValue(cr4Flags, { pae: true });
const DEFAULT_EFER = flagsToValue(eferFlags, { lme: true, lma: true, nxe: true });
const QUADWORD_MASK = 7;

/**
 * Translates a linear address as the CPU does while paging is on, and keeps every entry on the way, so that a
 * failure can be explained ({@linkcode describeWalk}). CR4 and EFER decide between 32-bit, PAE, 4-level and
 * 5-level paging (Intel SDM Vol. 3A, 4.3, 4.4.2, 4.5.4).
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
  const { cr3, read, cr4 = DEFAULT_CR4, efer = DEFAULT_EFER } = options;
  const linear = BigInt.asUintN(64, BigInt(options.linear));
  const levels: WalkedEntry[] = [];
  const paging = pagingModeOf({ cr0: PAGING_IS_ON, cr4, efer })!;
  const end = (result: Translation | WalkFault): PageWalk => ({
    linear,
    cr3,
    paging,
    levels,
    result,
  });
  const { levels: format, entrySize, linearAddressBits, rootAddress } = pagingFormats[paging];
  const bad = badAddress(linear, linearAddressBits);
  if (bad !== undefined) return end({ fault: bad });

  const features: EntryFeatures = {
    paging,
    noExecute: getFlag(eferFlags, "nxe", efer) === true,
    largePages: paging !== "32-bit" || getFlag(cr4Flags, "pse", cr4) === true,
    physicalAddressBits: options.physicalAddressBits ?? PHYSICAL_ADDRESS_BITS,
  };
  let table = Number(cr3 & rootAddress);
  const allowed: PagePermissions = { writable: true, user: true, executable: true };
  for (const level of format) {
    const gpa = table + entryOffset(level, linear, entrySize);
    const value = readEntry(read, gpa, entrySize);
    if (value === undefined) return end({ fault: "outside-memory", level: level.entry });
    const entry = decodeEntry(level, gpa, value, features);
    levels.push(entry);
    if (!entry.present) return end({ fault: "not-present", level: level.entry });
    if (value & reservedBits(level, entry.pageSize, features)) {
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

function badAddress(linear: bigint, linearAddressBits: number): WalkFaultKind | undefined {
  if (linearAddressBits === 32) return linear >> 32n === 0n ? undefined : "too-wide";
  return isCanonical(linear, linearAddressBits) ? undefined : "non-canonical";
}

/** Entries of 4 bytes are taken out of the 8 bytes around them: `read` knows no other size. */
function readEntry(
  read: PageWalkOptions["read"],
  gpa: number,
  entrySize: 4 | 8,
): bigint | undefined {
  const inQuadword = gpa & QUADWORD_MASK;
  const quadword = read(gpa - inQuadword);
  if (quadword === undefined || entrySize === 8) return quadword;
  return BigInt.asUintN(32, quadword >> BigInt(inQuadword * 8));
}

function decodeEntry(
  level: PageLevel,
  gpa: number,
  entry: bigint,
  { largePages }: EntryFeatures,
): WalkedEntry {
  const has = (flag: string) => getFlag(pageEntryFlags, flag, entry) === true;
  const walked: WalkedEntry = {
    level: level.entry,
    gpa,
    entry,
    present: has("p"),
    writable: !level.hasPermissions || has("rw"),
    user: !level.hasPermissions || has("us"),
    noExecute: has("xd"),
    accessed: has("a"),
    dirty: has("d"),
  };
  const mapsPage = level.page === "4K" || (level.page !== undefined && largePages && has("ps"));
  if (mapsPage && walked.present) walked.pageSize = level.page;
  return walked;
}

function physicalAddress({ entry, pageSize }: WalkedEntry, linear: bigint): number {
  const offsetMask = BigInt(PAGE_SIZE[pageSize!] - 1);
  const base = pageSize === "4M" ? addressOf4MPage(entry) : entry & PAGE_ENTRY_ADDRESS;
  return Number((base & ~offsetMask) | (linear & offsetMask));
}
