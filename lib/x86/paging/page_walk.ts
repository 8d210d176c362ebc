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
  pagingModeOf,
} from "./page_levels.ts";
import { hex } from "../hex.ts";

/** What to walk (Intel SDM Vol. 3A, 4.1.1 and 4.6.1). */
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

/** What an address may be used for: what every entry on the way to it allows (Intel SDM Vol. 3A, 4.6). */
export interface PagePermissions {
  /** May be written to. */
  writable: boolean;
  /** May be used at CPL 3. */
  user: boolean;
  /** Instructions may be fetched. */
  executable: boolean;
}

/** An entry that the walk read (Intel SDM Vol. 3A, tables 4-4 to 4-20). */
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

/** Where the address leads (Intel SDM Vol. 3A, 4.6). */
export interface Translation extends PagePermissions {
  /** The guest-physical address. */
  physical: number;
  /** The size of the page that it lies in. */
  pageSize: PageSizeName;
}

/** Why a walk ended early (Intel SDM Vol. 3A, 4.7). */
export type WalkFaultKind =
  | "not-present"
  | "reserved-bit"
  | "non-canonical"
  | "too-wide"
  | "outside-memory";

/** Why the address leads nowhere, and at which level (Intel SDM Vol. 3A, 4.7). */
export interface WalkFault {
  /**
   * The reason. `outside-memory`: the entry itself lies where there is no memory. `too-wide`: more than the 32
   * bits that linear addresses have outside long mode.
   */
  fault: WalkFaultKind;
  /** The entry that is to blame; absent where the address is, which no table is asked about then. */
  level?: PageEntryLevel;
}

/** A walk with all that it passed (Intel SDM Vol. 3A, 4.3, 4.4.2 and 4.5.4). */
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
 * @param options CR3, the linear address, how memory is read, and the registers that decide on paging.
 * @example
 * ```ts
 * import { walkPageTables } from "@vmexit/vmexit/x86";
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

/** What decides how an entry is read. */
interface EntryFeatures {
  /** The paging mode. */
  paging: PagingMode;
  /** EFER.NXE. */
  noExecute: boolean;
  /** PS counts: always but in 32-bit paging, where it needs CR4.PSE. */
  largePages: boolean;
  /** The CPU's physical-address width. */
  physicalAddressBits: number;
}

const XD = flagsToValue(pageEntryFlags, { xd: true });
const PS = flagsToValue(pageEntryFlags, { ps: true });
/** Bits 62:52, which software has to itself in long mode and which are reserved in PAE paging. */
const ABOVE_ADDRESS = bitsFrom(52, 62);
/** Bits 2:1 and 8:6 of PAE's PDPTE. Bit 5 is reserved as well, but QEMU's emulation sets it: it is A elsewhere. */
const PDPTE_RESERVED = 0x1c6n;
/** Bit 21 of the entry of a 4 MiB page. */
const PSE_RESERVED = 1n << 21n;
const PSE_36_FIRST_BIT = 13;
const PSE_36_LAST_BIT = 20;
/** Bits 39:32 of the address lie in bits 20:13 of the entry: 19 lower. */
const PSE_36_DISTANCE = 19;

/**
 * Bits that must be 0 in a present entry (Intel SDM Vol. 3A, 4.7, and tables 4-4 to 4-20).
 *
 * @param pageSize The page that the entry maps; undefined where it leads to a table.
 */
export function reservedBits(
  level: PageLevel,
  pageSize: PageSizeName | undefined,
  { paging, noExecute, physicalAddressBits }: EntryFeatures,
): bigint {
  if (paging === "32-bit") return pageSize === "4M" ? reservedIn4MPage(physicalAddressBits) : 0n;
  let reserved = PAGE_ENTRY_ADDRESS & bitsFrom(physicalAddressBits, 63);
  if (!noExecute || !level.hasPermissions) reserved |= XD;
  if (!level.hasPermissions) reserved |= PDPTE_RESERVED;
  else if (level.page === undefined) reserved |= PS;
  if (paging === "PAE") reserved |= ABOVE_ADDRESS;
  if (pageSize === "2M" || pageSize === "1G") {
    // Bit 12 of an entry that maps a large page is its PAT bit; the address starts above the page size.
    reserved |= BigInt(PAGE_SIZE[pageSize] - 1) & PAGE_ENTRY_ADDRESS & ~BigInt(PAGE_SIZE["4K"]);
  }
  return reserved;
}

/** The physical address in the entry of a 4 MiB page, PSE-36's bits 39:32 included. */
function addressOf4MPage(entry: bigint): bigint {
  const high = entry & bitsFrom(PSE_36_FIRST_BIT, PSE_36_LAST_BIT);
  return BigInt.asUintN(32, entry) & ~BigInt(PAGE_SIZE["4M"] - 1) |
    high << BigInt(PSE_36_DISTANCE);
}

function reservedIn4MPage(physicalAddressBits: number): bigint {
  const first = Math.max(PSE_36_FIRST_BIT, physicalAddressBits - PSE_36_DISTANCE);
  return PSE_RESERVED | bitsFrom(first, PSE_36_LAST_BIT);
}

function bitsFrom(first: number, last: number): bigint {
  return first > last ? 0n : (1n << BigInt(last + 1)) - (1n << BigInt(first));
}

const DIGITS_PER_BYTE = 2;

/**
 * A walk in lines to read: the address, each entry that was passed, and where it led or why it did not.
 *
 * @param walk What {@linkcode walkPageTables} gave.
 * @example
 * ```ts
 * import { describeWalk, walkPageTables } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const walk = walkPageTables({ cr3: 0x1000n, linear: 0x4000, read: () => undefined });
 * assertEquals(describeWalk(walk), [
 *   "linear 0x4000, cr3 0x1000",
 *   "not mapped: there is no memory where the PML4E would be",
 * ]);
 * ```
 */
export function describeWalk({ linear, cr3, paging, levels, result }: PageWalk): string[] {
  const digits = pagingFormats[paging].entrySize * DIGITS_PER_BYTE;
  return [
    `linear ${hex(linear)}, cr3 ${hex(cr3)}${paging === "4-level" ? "" : `, ${paging} paging`}`,
    ...levels.map((entry) => describeEntry(entry, digits)),
    "physical" in result
      ? `physical ${hex(result.physical)} in a ${result.pageSize} page: ${
        describePermissions(result.writable, result.user, result.executable)
      }`
      : `not mapped: ${describeFault(result)}`,
  ];
}

function describeEntry(walked: WalkedEntry, digits: number): string {
  const { level, gpa, entry, present, writable, user, noExecute, accessed, dirty } = walked;
  const place = `${level.padEnd("PML4E".length)} at ${hex(gpa)}: ${hex(entry, digits)}`;
  if (!present) return `${place} not present`;
  const marks = [
    describePermissions(writable, user, !noExecute),
    ...(accessed ? ["accessed"] : []),
    ...(dirty && walked.pageSize !== undefined ? ["dirty"] : []),
    ...(walked.pageSize === undefined ? [] : [`${walked.pageSize} page`]),
  ];
  return `${place} ${marks.join(", ")}`;
}

function describePermissions(writable: boolean, user: boolean, executable: boolean): string {
  return [
    writable ? "writable" : "read-only",
    user ? "user" : "supervisor",
    executable ? "executable" : "no-execute",
  ].join(", ");
}

function describeFault({ fault, level }: WalkFault): string {
  switch (fault) {
    case "not-present":
      return `the ${level} is not present`;
    case "reserved-bit":
      return `the ${level} has a reserved bit set`;
    case "outside-memory":
      return `there is no memory where the ${level} would be`;
    case "too-wide":
      return "the address has more than the 32 bits of linear addresses outside long mode";
    case "non-canonical":
      return "the address is not canonical";
  }
}
