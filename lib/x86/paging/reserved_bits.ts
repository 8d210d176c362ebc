import { pageEntryFlags } from "../registers/flag_tables.ts";
import { flagsToValue } from "../registers/flags.ts";
import {
  PAGE_ENTRY_ADDRESS,
  PAGE_SIZE,
  type PageLevel,
  type PageSizeName,
  type PagingMode,
} from "./page_levels.ts";

/** What decides how an entry is read. */
export interface EntryFeatures {
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
export function addressOf4MPage(entry: bigint): bigint {
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
