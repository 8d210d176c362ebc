import { checkMappings, type PageMapping } from "../../paging/page_mapping.ts";
import {
  PAGE_SIZE,
  type PageSizeName,
  pagingFormats,
  type PagingMode,
} from "../../paging/page_levels.ts";
import { buildPageTables, type PageTables, type TableArea } from "../../paging/page_tables.ts";
import { PROTECTED_MODE } from "../../layout.ts";

/** What boot states with paging can be told (Intel SDM Vol. 3A, 4.1 and 4.2). All of it has defaults. */
export interface PagingLayout<IdentityPageSize extends PageSizeName = PageSizeName> {
  /**
   * Where page tables go: from an address up to the end of the memory, or in an area with its own end. By
   * default four at 0x1000, and five more from 0x7000 where four are too few.
   */
  pageTables?: number | TableArea;
  /**
   * Pages of the map of the first addresses onto themselves, or false for none. In long mode it has the first
   * GiB, by default in `"2M"` pages; in mode `"pae"` all 4 GiB, by default in `"2M"` pages; in mode `"paged"` all
   * 4 GiB in `"4M"` pages, the default. With `"4K"` the first 2 MiB have 4 KiB pages and the rest 2 MiB ones;
   * in mode `"paged"` the first 4 MiB have them, the rest is not mapped, and CR4.PSE stays clear.
   */
  identityMap?: IdentityPageSize | false;
  /** Further mappings. Where one of them lies, the identity map has no say: one can cut holes into it. */
  mappings?: readonly PageMapping[];
}

/** The page tables of a boot state. */
export function layoutPageTables(
  { pageTables, identityMap: pageSize, mappings = [] }: PagingLayout,
  { paging, user, memorySize }: { paging: PagingMode; user: boolean; memorySize: number },
): PageTables {
  const identity = pageSize === false
    ? []
    : identityMap({ paging, pageSize: pageSize ?? defaultPages(paging), user, others: mappings });
  return buildPageTables({
    areas: tableAreas(pageTables, memorySize),
    mappings: [...identity, ...mappings],
    paging,
  });
}

function defaultPages(paging: PagingMode): PageSizeName {
  return paging === "32-bit" ? "4M" : "2M";
}

function tableAreas(pageTables: PagingLayout["pageTables"], memorySize: number): TableArea[] {
  if (typeof pageTables === "number") return [{ start: pageTables, end: memorySize }];
  if (pageTables !== undefined) return [pageTables];
  return [
    { start: PROTECTED_MODE.pageTables, end: PROTECTED_MODE.pageTablesEnd },
    { start: PROTECTED_MODE.morePageTables, end: PROTECTED_MODE.morePageTablesEnd },
  ];
}

/** A range of linear addresses in the lower half; `end` is the address after the last. */
interface Range {
  start: number;
  end: number;
  pageSize: PageSizeName | "auto";
}

/** What an identity map is to be like. */
interface IdentityMapOptions {
  /** How the CPU will read it. */
  paging: PagingMode;
  /**
   * The pages to use. With `"4K"` only the range of one large page, from 0 on, has 4 KiB pages, and the rest
   * large ones; in 32-bit paging the rest is not mapped then. Beside a cut, pages are smaller where they have
   * to be.
   */
  pageSize: PageSizeName;
  /** Whether CPL 3 may use it. */
  user: boolean;
  /** Mappings that take precedence, holes among them. */
  others: readonly PageMapping[];
}

/**
 * The mapping of the first addresses onto themselves, 1 GiB in long mode and 4 GiB elsewhere, cut out wherever
 * another mapping lies.
 *
 * @throws {RangeError} When one of `others` cannot be (see {@linkcode PageMapping}).
 */
export function identityMap(options: IdentityMapOptions): PageMapping[] {
  const { paging, user, others } = options;
  const left = checkMappings(others, paging).reduce(
    (ranges, { linear, size }) =>
      linear >= BigInt(PROTECTED_MODE.identityMapSize32)
        ? ranges
        : ranges.flatMap((range) => cut(range, Number(linear), size)),
    wholeMap(options),
  );
  return left.map((range) => ({
    linear: range.start,
    size: range.end - range.start,
    pageSize: range.pageSize,
    user,
  }));
}

function wholeMap({ paging, pageSize }: IdentityMapOptions): Range[] {
  const { linearAddressBits, largePage } = pagingFormats[paging];
  const end = linearAddressBits === 32
    ? PROTECTED_MODE.identityMapSize32
    : PROTECTED_MODE.identityMapSize;
  if (pageSize !== "4K") return [{ start: 0, end, pageSize }];
  const split = PAGE_SIZE[largePage];
  const small: Range = { start: 0, end: split, pageSize };
  // A guest of 4 KiB pages alone can be had in 32-bit paging only: it needs no CR4.PSE.
  return paging === "32-bit" ? [small] : [small, { start: split, end, pageSize: largePage }];
}

function cut(range: Range, start: number, size: number): Range[] {
  const end = start + size;
  if (end <= range.start || start >= range.end) return [range];
  // What is left may not be aligned for the range's pages any more, but never needs larger ones.
  const pageSize = range.pageSize === "4K" ? "4K" : "auto";
  return [
    { start: range.start, end: start, pageSize },
    { start: end, end: range.end, pageSize },
  ].filter((rest): rest is Range => rest.start < rest.end);
}
