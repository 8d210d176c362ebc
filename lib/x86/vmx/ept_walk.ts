import { PHYSICAL_ADDRESS_BITS } from "../paging/canonical.ts";
import { flagAt, type FlagTable, getFlag } from "../registers/flags.ts";
import { hex } from "../hex.ts";
import {
  entryOffset,
  PAGE_ENTRY_ADDRESS,
  PAGE_SIZE,
  type PageEntryLevel,
  type PageLevel,
} from "../paging/page_levels.ts";
import {
  decodeEptPointer,
  EPT_ENTRY_SIZE,
  eptAddressBits,
  eptEntryFlags,
  eptLevels,
  type EptPageSize,
} from "./ept_entry.ts";
import { memoryTypeName, type VmxMemoryType } from "./vmx_basic.ts";

/** What to walk (Intel SDM Vol. 3C, 28.3.2 and 28.3.3). */
export interface EptWalkOptions {
  /** The EPT pointer. */
  pointer: bigint;
  /** The guest-physical address to translate. */
  gpa: number;
  /** The 8 bytes at a physical address that is a multiple of 8, or undefined where there is no memory. */
  read: (hpa: number) => bigint | undefined;
  /** The CPU's physical-address width; entry bits above are reserved. 52, the architecture's, by default. */
  physicalAddressBits?: number;
  /** The CPU has execute-only translations (IA32_VMX_EPT_VPID_CAP). Default true. */
  executeOnly?: boolean;
}

/** An entry that the walk read (Intel SDM Vol. 3C, tables 28-1 to 28-6). */
export interface WalkedEptEntry {
  /** Which level's. */
  level: PageEntryLevel;
  /** Where it lies. */
  hpa: number;
  /** Its 64 bits. */
  entry: bigint;
}

/** Where the address leads, and what every entry on the way allows (Intel SDM Vol. 3C, 28.3.2). */
export interface EptTranslation {
  /** The physical address. */
  hpa: number;
  /** The page that it lies in. */
  pageSize: EptPageSize;
  /** May be read. */
  readable: boolean;
  /** May be written. */
  writable: boolean;
  /** Instructions may be fetched. */
  executable: boolean;
  /** The memory type. */
  memoryType: VmxMemoryType;
  /** The guest's PAT does not count. */
  ignorePat: boolean;
}

/** Why the address leads nowhere, and at which level (Intel SDM Vol. 3C, 28.3.3). */
export interface EptFault {
  /**
   * The exit that it causes; `"outside-memory"` where the entry itself lies in none. An address wider than
   * the levels translate is an EPT violation at the root.
   */
  fault: "EPT violation" | "EPT misconfiguration" | "outside-memory";
  /** The entry that is to blame. */
  level: PageEntryLevel;
}

/** A walk with all that it passed (Intel SDM Vol. 3C, 28.3.2 and 28.3.3). */
export interface EptWalk {
  /** The entries that were read, root first. */
  levels: WalkedEptEntry[];
  /** `"hpa" in result` tells the two apart. */
  result: EptTranslation | EptFault;
}

/**
 * Translates a guest-physical address as the CPU does with EPT, and keeps every entry on the way (Intel SDM
 * Vol. 3C, 28.3.2 and 28.3.3). It asks whether an address is mapped, not whether an access is allowed:
 * permissions are in the result.
 *
 * @param options The EPT pointer, the guest-physical address, and how memory is read.
 * @throws {RangeError} When the pointer has a reserved walk length.
 * @example
 * ```ts
 * import { walkEpt } from "@vmexit/vmexit/vmx";
 * import { assertEquals } from "@std/assert";
 *
 * const walk = walkEpt({ pointer: 0x1018n, gpa: 0x4000, read: () => 0n });
 * assertEquals(walk.result, { fault: "EPT violation", level: "PML4E" });
 * ```
 */
export function walkEpt(options: EptWalkOptions): EptWalk {
  const { pointer, gpa, read, executeOnly = true } = options;
  const { physicalAddressBits = PHYSICAL_ADDRESS_BITS } = options;
  const { root, walkLength } = decodeEptPointer(pointer);
  if (walkLength === undefined) {
    throw new RangeError(
      `Cannot walk EPT from the pointer ${hex(pointer)}: its walk length is reserved; it is 4 or 5`,
    );
  }
  const levels: WalkedEptEntry[] = [];
  const fault = (kind: EptFault["fault"], { entry }: PageLevel): EptWalk => ({
    levels,
    result: { fault: kind, level: entry },
  });
  const format = eptLevels(walkLength);
  if (gpa >= 2 ** eptAddressBits(walkLength)) return fault("EPT violation", format[0]);

  let table = root;
  let permissions = ALL;
  for (const level of format) {
    const hpa = table + entryOffset(level, BigInt(gpa), EPT_ENTRY_SIZE);
    const entry = read(hpa);
    if (entry === undefined) return fault("outside-memory", level);
    levels.push({ level: level.entry, hpa, entry });
    const own = entry & ALL;
    if (own === 0n) return fault("EPT violation", level);
    const page = pageOf(level, entry);
    if (isMisconfigured(entry, level, page, { physicalAddressBits, executeOnly })) {
      return fault("EPT misconfiguration", level);
    }
    permissions &= own;
    if (page !== undefined) {
      return { levels, result: translation(entry, page, gpa, permissions) };
    }
    table = Number(entry & PAGE_ENTRY_ADDRESS);
  }
  throw new Error("the last level of EPT's tables maps pages: the walk ends there");
}

/** R, W and X. */
const ALL = 7n;
const READ = 1n;
const WRITE = 2n;
const EXECUTE = 4n;
/** Bits 6:3 are reserved in an entry that leads to a table; in a PML4E and a PML5E bit 7 is, too. */
const RESERVED_IN_TABLE_ENTRY = 0x78n;
const RESERVED_IN_ROOT_ENTRY = 0xf8n;

function pageOf(level: PageLevel, entry: bigint): EptPageSize | undefined {
  if (level.page === undefined) return undefined;
  const maps = level.page === "4K" || getFlag(eptEntryFlags, "ps", entry) === true;
  return maps ? level.page as EptPageSize : undefined;
}

/** Intel SDM Vol. 3C, 28.3.3.1. */
function isMisconfigured(
  entry: bigint,
  level: PageLevel,
  page: EptPageSize | undefined,
  { physicalAddressBits, executeOnly }: { physicalAddressBits: number; executeOnly: boolean },
): boolean {
  const permissions = entry & ALL;
  if ((permissions & WRITE) !== 0n && (permissions & READ) === 0n) return true;
  if (permissions === EXECUTE && !executeOnly) return true;
  const address = entry & PAGE_ENTRY_ADDRESS;
  if (address >> BigInt(physicalAddressBits) !== 0n) return true;
  if (page === undefined) {
    return (entry & (level.page ? RESERVED_IN_TABLE_ENTRY : RESERVED_IN_ROOT_ENTRY)) !== 0n;
  }
  return (address & BigInt(PAGE_SIZE[page] - 1)) !== 0n || memoryType(entry) === undefined;
}

function memoryType(entry: bigint): VmxMemoryType | undefined {
  return memoryTypeName(Number(getFlag(eptEntryFlags, "memory_type", entry)));
}

function translation(
  entry: bigint,
  pageSize: EptPageSize,
  gpa: number,
  permissions: bigint,
): EptTranslation {
  return {
    hpa: Number(entry & PAGE_ENTRY_ADDRESS) + gpa % PAGE_SIZE[pageSize],
    pageSize,
    readable: (permissions & READ) !== 0n,
    writable: (permissions & WRITE) !== 0n,
    executable: (permissions & EXECUTE) !== 0n,
    memoryType: memoryType(entry)!,
    ignorePat: getFlag(eptEntryFlags, "ipat", entry) === true,
  };
}

/** Flags of the exit qualification of an EPT violation (Intel SDM Vol. 3C, table 27-7). */
export type EptViolationFlag =
  | ("read" | "write" | "fetch" | "readable" | "writable" | "executable" | "user_executable")
  | ("linear_valid" | "final" | "user_linear" | "writable_linear" | "execute_disable_linear")
  | "nmi_unblocking_iret";

/**
 * The exit qualification of an EPT violation by name: what was tried (`read`, `write`, `fetch`), what the
 * entries allow, and, where `linear_valid` is set, whether the guest's own address was translated (`final`)
 * or an entry of its page tables (Intel SDM Vol. 3C, table 27-7).
 */
export const eptViolationFlags: FlagTable<EptViolationFlag> = {
  read: flagAt(0),
  write: flagAt(1),
  fetch: flagAt(2),
  readable: flagAt(3),
  writable: flagAt(4),
  executable: flagAt(5),
  user_executable: flagAt(6),
  linear_valid: flagAt(7),
  final: flagAt(8),
  user_linear: flagAt(9),
  writable_linear: flagAt(10),
  execute_disable_linear: flagAt(11),
  nmi_unblocking_iret: flagAt(12),
};
