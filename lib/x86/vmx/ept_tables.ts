import { PHYSICAL_ADDRESS_BITS } from "../paging/canonical.ts";
import type { MemoryWrite } from "../placement.ts";
import { flagsToValue } from "../registers/flags.ts";
import { hex } from "../hex.ts";
import { checkRegionAddress } from "../virtualization/place_region.ts";
import { entryOffset, PAGE_SIZE, PAGE_TABLE_SIZE, type PageLevel } from "../paging/page_levels.ts";
import type { TableArea } from "../paging/page_tables.ts";
import {
  EPT_ENTRY_SIZE,
  eptAddressBits,
  eptEntryFlags,
  eptLevels,
  type EptPageSize,
  eptPointer,
  type EptWalkLength,
} from "./ept_entry.ts";
import { memoryTypeCode, type VmxMemoryType } from "./vmx_basic.ts";

/** What to build (Intel SDM Vol. 3C, 28.3.2). */
export interface EptTableOptions {
  /** Where tables go: the areas are used up one after the other, each from its start. */
  areas: readonly TableArea[];
  /** What to map, in any order. */
  mappings: readonly EptMapping[];
  /** How many levels of tables. Default 4. */
  walkLength?: EptWalkLength;
  /** The CPU's physical-address width. 52, the architecture's, by default. */
  physicalAddressBits?: number;
}

/** EPT's tables as bytes (Intel SDM Vol. 3C, 28.3.2). */
export interface EptTables {
  /** The root's address, for {@linkcode eptPointer}. */
  root: number;
  /** The EPT pointer that leads to it: memory type WB, no accessed and dirty flags. */
  pointer: bigint;
  /** The tables, root first, 4096 bytes each. */
  writes: MemoryWrite[];
  /** The address after the table that was placed last. */
  end: number;
}

/** A table under construction: `tables` are those that its entries lead to, by offset. */
interface Table {
  gpa: number;
  view: DataView;
  tables: Map<number, Table>;
}

/**
 * Builds EPT's tables (Intel SDM Vol. 3C, 28.3.2). Tables are placed as a walk over the mappings first needs
 * them. Entries that lead to tables allow everything, so that the last entry decides.
 *
 * @param options What to map, where tables may lie, how many levels there are, and the physical-address width.
 * @throws {RangeError} When a mapping cannot be (see {@linkcode EptMapping}; among others, when it ends past
 *   the physical-address width), mappings overlap, or the areas have no room for all tables.
 * @example
 * ```ts
 * import { buildEptTables } from "@vmexit/vmexit/vmx";
 * import { assertEquals } from "@std/assert";
 *
 * const { pointer, writes } = buildEptTables({
 *   areas: [{ start: 0x4_0000, end: 0x5_0000 }],
 *   mappings: [
 *     { gpa: 0, hpa: 0x8_0000, size: 0x1_0000 },
 *     { gpa: 0xfee0_0000, size: 0x1000, memoryType: "UC", executable: false },
 *   ],
 * });
 * assertEquals([pointer, writes.length], [0x4_001en, 6]);
 * ```
 */
export function buildEptTables(
  {
    areas,
    mappings,
    walkLength = 4,
    physicalAddressBits = PHYSICAL_ADDRESS_BITS,
  }: EptTableOptions,
): EptTables {
  const levels = eptLevels(walkLength);
  for (const { start } of areas) checkRegionAddress("EPT tables", start);
  const frames = tableFrames(areas);
  const writes: MemoryWrite[] = [];

  function newTable({ table }: PageLevel, gpa: number): Table {
    const frame = frames.next();
    if (frame.done) {
      throw new RangeError(
        `Cannot place the EPT ${table} of guest-physical ${
          hex(gpa)
        }: all ${writes.length} tables that there is room for are used; give the areas more room`,
      );
    }
    const bytes = new Uint8Array(PAGE_TABLE_SIZE);
    const isRoot = writes.length === 0;
    const what = isRoot ? `EPT ${table}` : `EPT ${table} of guest-physical ${hex(gpa)}`;
    writes.push({ gpa: frame.value, bytes, what });
    return { gpa: frame.value, view: new DataView(bytes.buffer), tables: new Map() };
  }

  function mapPage({ gpa, size, entry }: Page): void {
    let table = root;
    for (const [depth, level] of levels.entries()) {
      const offset = entryOffset(level, BigInt(gpa), EPT_ENTRY_SIZE);
      const used = table.view.getBigUint64(offset, true) !== 0n;
      const maps = level.page === size;
      if (used && (maps || !table.tables.has(offset))) {
        throw new RangeError(
          `Cannot map guest-physical ${hex(gpa)}: another mapping has it; give each address one`,
        );
      }
      if (maps) {
        table.view.setBigUint64(offset, entry, true);
        return;
      }
      const below = table.tables.get(offset) ?? newTable(levels[depth + 1], gpa);
      table.tables.set(offset, below);
      table.view.setBigUint64(offset, BigInt(below.gpa) | TABLE_FLAGS, true);
      table = below;
    }
  }

  const root = newTable(levels[0], 0);
  for (const mapping of mappings) {
    const checked = checkEptMapping(mapping, walkLength, physicalAddressBits);
    for (const page of pagesOf(checked)) mapPage(page);
  }
  const last = writes[writes.length - 1];
  return {
    root: root.gpa,
    pointer: eptPointer({ root: root.gpa, walkLength }, physicalAddressBits),
    writes,
    end: last.gpa + PAGE_TABLE_SIZE,
  };
}

const TABLE_FLAGS = flagsToValue(eptEntryFlags, { r: true, w: true, x: true });

interface Page {
  gpa: number;
  size: EptPageSize;
  entry: bigint;
}

function* pagesOf(mapping: Required<EptMapping>): Generator<Page> {
  const { readable, writable, executable, ignorePat, memoryType, pageSize } = mapping;
  const flags = flagsToValue(eptEntryFlags, {
    r: readable,
    w: writable,
    x: executable,
    ipat: ignorePat,
    memory_type: memoryTypeCode(memoryType),
  });
  const large = flagsToValue(eptEntryFlags, { ps: true });
  for (let done = 0; done < mapping.size;) {
    const gpa = mapping.gpa + done;
    const hpa = mapping.hpa + done;
    const size = pageSize === "auto" ? fitting(gpa, hpa, mapping.size - done) : pageSize;
    yield { gpa, size, entry: BigInt(hpa) | flags | (size === "4K" ? 0n : large) };
    done += PAGE_SIZE[size];
  }
}

function fitting(gpa: number, hpa: number, left: number): EptPageSize {
  const large = PAGE_SIZE["2M"];
  return gpa % large === 0 && hpa % large === 0 && left >= large ? "2M" : "4K";
}

function* tableFrames(areas: readonly TableArea[]): Generator<number> {
  for (const { start, end } of areas) {
    for (let gpa = start; gpa + PAGE_TABLE_SIZE <= end; gpa += PAGE_TABLE_SIZE) yield gpa;
  }
}

/** A range of a guest's physical addresses, where it leads, and what may be done there (Intel SDM Vol. 3C, 28.3.2). */
export interface EptMapping {
  /** The first address, as the nested guest sees it. */
  gpa: number;
  /** Where it leads: an address of the guest hypervisor. The same where left out. */
  hpa?: number;
  /** Length in bytes. */
  size: number;
  /**
   * What pages to use. `"auto"`, the default, takes 2 MiB pages wherever both addresses are aligned for them,
   * and 4 KiB pages elsewhere; 1 GiB pages, which not every CPU has, only on request.
   */
  pageSize?: EptPageSize | "auto";
  /** May be read. Default true. */
  readable?: boolean;
  /** May be written; needs `readable`. Default true. */
  writable?: boolean;
  /** Instructions may be fetched. Alone, it needs a CPU with execute-only translations. Default true. */
  executable?: boolean;
  /** The memory type. Default WB. */
  memoryType?: VmxMemoryType;
  /** The guest's PAT does not count. Default false. */
  ignorePat?: boolean;
}

/**
 * A mapping with nothing left out, after all that makes it impossible was refused.
 *
 * @throws {RangeError} When an address or the size is not a multiple of the page, the guest's addresses pass
 *   what the levels translate, the physical ones pass the width, the page size is none of EPT's, or the
 *   permissions are none, or to write and not to read.
 */
function checkEptMapping(
  mapping: EptMapping,
  walkLength: EptWalkLength,
  physicalAddressBits: number,
): Required<EptMapping> {
  const checked: Required<EptMapping> = {
    hpa: mapping.gpa,
    pageSize: "auto",
    readable: true,
    writable: true,
    executable: true,
    memoryType: "WB",
    ignorePat: false,
    ...mapping,
  };
  const { gpa, hpa, size, pageSize, readable, writable, executable } = checked;
  const what = `guest-physical ${show(gpa)}`;
  if (!["4K", "2M", "1G", "auto"].includes(pageSize)) {
    throw new RangeError(
      `Cannot map ${what} with pages of "${pageSize}": EPT has "4K", "2M", "1G" and "auto"`,
    );
  }
  if (size <= 0) throw new RangeError(`Cannot map ${size} bytes at ${what}: give a page or more`);
  const page = PAGE_SIZE[pageSize === "auto" ? "4K" : pageSize];
  for (const [name, amount] of Object.entries({ gpa, hpa, size })) {
    if (Number.isSafeInteger(amount) && amount >= 0 && amount % page === 0) continue;
    throw new RangeError(
      `Cannot map ${what}: \`${name}\` is ${show(amount)}; give a multiple of ${hex(page)}`,
    );
  }
  refusePast(what, gpa + size, eptAddressBits(walkLength), "with these levels guest-physical");
  refusePast(`${what} to ${hex(hpa)}`, hpa + size, physicalAddressBits, "physical");
  if (writable && !readable) {
    throw new RangeError(
      `Cannot map ${what} as writable and not readable: EPT has no such pages; make it readable`,
    );
  }
  if (!readable && !executable) {
    throw new RangeError(
      `Cannot map ${what} without a permission: that is no mapping; leave it out`,
    );
  }
  return checked;
}

function refusePast(what: string, end: number, bits: number, addresses: string): void {
  if (end <= 2 ** bits) return;
  throw new RangeError(
    `Cannot map ${what}: ${addresses} addresses have ${bits} bits; end at or below ${
      hex(2 ** bits)
    }`,
  );
}

function show(amount: number): string {
  return Number.isInteger(amount) ? hex(amount) : String(amount);
}
