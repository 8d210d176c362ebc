import { PROTECTED_MODE } from "../../layout.ts";
import {
  PAGE_SIZE,
  type PageSizeName,
  pagingFormats,
  type PagingMode,
} from "../../paging/page_levels.ts";
import { checkMappings, type PageMapping } from "../../paging/page_mapping.ts";

/** A range of linear addresses in the lower half; `end` is the address after the last. */
interface Range {
  start: number;
  end: number;
  pageSize: PageSizeName | "auto";
}

/** What an identity map is to be like. */
export interface IdentityMapOptions {
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
