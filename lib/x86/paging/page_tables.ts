import type { MemoryWrite } from "../placement.ts";
import { pageEntryFlags } from "../registers/flag_tables.ts";
import { flagsToValue } from "../registers/flags.ts";
import { hex } from "../hex.ts";
import {
  entryOffset,
  PAGE_SIZE,
  PAGE_TABLE_SIZE,
  type PageLevel,
  type PageSizeName,
  pagingFormats,
  type PagingMode,
} from "./page_levels.ts";
import { type CheckedMapping, checkMappings, type PageMapping } from "./page_mapping.ts";

/** Guest-physical memory in which tables may be placed (Intel SDM Vol. 3A, 4.2). */
export interface TableArea {
  /** First address, a multiple of 4096. */
  start: number;
  /** Address after the last; tables that would pass it are refused. */
  end: number;
}

/** What to build (Intel SDM Vol. 3A, 4.2 and 4.5). */
export interface PageTableOptions {
  /** Where tables go: the areas are used up one after the other, each from its start. */
  areas: readonly TableArea[];
  /** What to map, in any order. */
  mappings: readonly PageMapping[];
  /** How the CPU will read them. Default `"4-level"`. */
  paging?: PagingMode;
}

/** Page tables as bytes (Intel SDM Vol. 3A, 4.2). */
export interface PageTables {
  /** The root's address: what CR3 is to hold. */
  cr3: bigint;
  /** The tables, root first, 4096 bytes each, named "PML4", "PDPT of linear 0x0", … */
  writes: MemoryWrite[];
  /** The sizes of the pages that are mapped: 4 MiB ones need CR4.PSE. */
  pageSizes: Set<PageSizeName>;
  /** The address after the table that was placed last. */
  end: number;
}

/** Where the entry of a 4 MiB page has bits 39:32 of its address (Intel SDM Vol. 3A, table 4-4). */
const PSE_36_SHIFT = 13n;
const PRESENT = flagsToValue(pageEntryFlags, { p: true });

/** A table under construction. */
interface Table {
  gpa: number;
  view: DataView;
  tables: Map<number, Table>;
}

/**
 * Builds page tables for any of the CPU's paging modes (Intel SDM Vol. 3A, 4.3, 4.4.2, 4.5.4).
 *
 * Tables are placed in the order in which a walk over the mappings, sorted by linear address, first needs
 * them: PML4, PDPT, PD, PT. Outside long mode the root must lie below 4 GiB. Entries that lead to tables are
 * writable, executable, and user where a mapping below them says so (`userTables`), so that the last entry decides;
 * accessed and dirty bits start clear.
 *
 * @param options What to map, where tables may lie, and the paging mode.
 * @throws {RangeError} When a mapping cannot be (see {@linkcode PageMapping}), mappings overlap, or the
 *   areas have no room for all tables, or lie where entries or CR3 cannot reach them.
 * @example
 * ```ts
 * import { buildPageTables } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { cr3, writes } = buildPageTables({
 *   areas: [{ start: 0x1000, end: 0x6000 }],
 *   mappings: [
 *     { linear: 0, size: 0x4000_0000 },
 *     { linear: 0xffff_ffff_8000_0000n, physical: 0x20_0000, size: 0x20_0000, writable: false },
 *   ],
 * });
 * assertEquals(cr3, 0x1000n);
 * assertEquals(writes.map(({ gpa }) => gpa), [0x1000, 0x2000, 0x3000, 0x4000, 0x5000]);
 * ```
 */
export function buildPageTables(
  { areas, mappings, paging = "4-level" }: PageTableOptions,
): PageTables {
  refuseMisalignedAreas(areas);
  const { levels, entrySize, rootAddress, largePage } = pagingFormats[paging];
  const checked = checkMappings(mappings, paging);
  const frames = tableFrames(areas);
  const writes: MemoryWrite[] = [];
  const pageSizes = new Set<PageSizeName>();

  function newTable(level: PageLevel, linear: bigint): Table {
    const frame = frames.next();
    if (frame.done) {
      throw new RangeError(
        `Cannot place the ${level.table} of linear ${
          hex(linear)
        }: all ${writes.length} tables that there is room for are used; give the page tables more room, or use larger pages`,
      );
    }
    const isRoot = writes.length === 0;
    if ((isRoot || entrySize === 4) && (BigInt(frame.value) & ~rootAddress) !== 0n) {
      throw new RangeError(
        `Cannot place the ${level.table} of linear ${hex(linear)} at ${
          hex(frame.value)
        }: in ${paging} paging its address has 32 bits; place it below 4 GiB`,
      );
    }
    const bytes = new Uint8Array(PAGE_TABLE_SIZE);
    const what = isRoot ? level.table : `${level.table} of linear ${hex(linear)}`;
    writes.push({ gpa: frame.value, bytes, what });
    return { gpa: frame.value, view: new DataView(bytes.buffer), tables: new Map() };
  }

  function mapPage(page: Page, flags: EntryFlags): void {
    let table = root;
    for (const [depth, level] of levels.entries()) {
      const offset = entryOffset(level, page.linear, entrySize);
      if (level.page === page.size) {
        addToEntry(table.view, offset, pageAddressField(page) | flags[page.size]);
        return;
      }
      const below = table.tables.get(offset) ?? newTable(levels[depth + 1], page.linear);
      table.tables.set(offset, below);
      const permissions = level.hasPermissions ? flags.table : PRESENT;
      addToEntry(table.view, offset, BigInt(below.gpa) | permissions);
      table = below;
    }
  }

  function addToEntry(view: DataView, offset: number, bits: bigint): void {
    if (entrySize === 8) view.setBigUint64(offset, view.getBigUint64(offset, true) | bits, true);
    else view.setUint32(offset, Number(BigInt(view.getUint32(offset, true)) | bits), true);
  }

  const root = newTable(levels[0], 0n);
  for (const mapping of checked) {
    if (!mapping.present) continue;
    const flags = entryFlags(mapping);
    for (const page of pagesOf(mapping, largePage)) {
      mapPage(page, flags);
      pageSizes.add(page.size);
    }
  }
  const last = writes[writes.length - 1];
  return { cr3: BigInt(root.gpa), writes, pageSizes, end: last.gpa + PAGE_TABLE_SIZE };
}

interface Page {
  linear: bigint;
  physical: number;
  size: PageSizeName;
}

function* pagesOf(
  { linear, physical, size, pageSize }: CheckedMapping,
  largePage: PageSizeName,
): Generator<Page> {
  for (let done = 0; done < size;) {
    const page = { linear: linear + BigInt(done), physical: physical + done };
    const chosen = pageSize === "auto" ? fittingPage(page, size - done, largePage) : pageSize;
    yield { ...page, size: chosen };
    done += PAGE_SIZE[chosen];
  }
}

function fittingPage(
  page: { linear: bigint; physical: number },
  left: number,
  largePage: PageSizeName,
): PageSizeName {
  const large = PAGE_SIZE[largePage];
  const aligned = page.linear % BigInt(large) === 0n && page.physical % large === 0;
  return aligned && left >= large ? largePage : "4K";
}

/** The bits of an entry that are the page's physical address. */
function pageAddressField({ physical, size }: Page): bigint {
  const address = BigInt(physical);
  if (size !== "4M") return address;
  return BigInt.asUintN(32, address) | (address >> 32n << PSE_36_SHIFT);
}

type EntryFlags = Record<PageSizeName | "table", bigint>;

function entryFlags({ writable, user, userTables, executable }: CheckedMapping): EntryFlags {
  const small = flagsToValue(pageEntryFlags, { p: true, rw: writable, us: user, xd: !executable });
  const large = small | flagsToValue(pageEntryFlags, { ps: true });
  const table = flagsToValue(pageEntryFlags, { p: true, rw: true, us: userTables });
  return { "4K": small, "2M": large, "4M": large, "1G": large, table };
}

function* tableFrames(areas: readonly TableArea[]): Generator<number> {
  for (const { start, end } of areas) {
    for (let gpa = start; gpa + PAGE_TABLE_SIZE <= end; gpa += PAGE_TABLE_SIZE) yield gpa;
  }
}

function refuseMisalignedAreas(areas: readonly TableArea[]): void {
  for (const { start } of areas) {
    if (Number.isSafeInteger(start) && start >= 0 && start % PAGE_TABLE_SIZE === 0) continue;
    throw new RangeError(
      `Cannot place page tables at ${
        Number.isInteger(start) ? hex(start) : start
      }: a table's address is a multiple of ${hex(PAGE_TABLE_SIZE)}`,
    );
  }
}
