import { LONG_MODE } from "../layout.ts";
import { checkMappings, PAGE_SIZE, type PageMapping, type PageSizeName } from "../page_mapping.ts";

/** A range of linear addresses in the lower half; `end` is the address after the last. */
interface Range {
  start: number;
  end: number;
  pageSize: PageSizeName | "auto";
}

/**
 * The mapping of the first GiB onto itself, cut out wherever one of `others` lies.
 *
 * @param pageSize The pages to use. With `"4K"` only the first 2 MiB have 4 KiB pages, the rest 2 MiB ones;
 *   beside a cut, pages are smaller where they have to be.
 * @param others Mappings that take precedence, holes among them.
 * @throws {RangeError} When one of `others` cannot be (see {@linkcode PageMapping}).
 */
export function identityMap(pageSize: PageSizeName, others: readonly PageMapping[]): PageMapping[] {
  const end = LONG_MODE.identityMapSize;
  const split = PAGE_SIZE["2M"];
  const whole: Range[] = pageSize === "4K"
    ? [{ start: 0, end: split, pageSize }, { start: split, end, pageSize: "2M" }]
    : [{ start: 0, end, pageSize }];
  const left = checkMappings(others).reduce(
    (ranges, { linear, size }) =>
      linear >= BigInt(end) ? ranges : ranges.flatMap((range) => cut(range, Number(linear), size)),
    whole,
  );
  return left.map((range) => ({
    linear: range.start,
    size: range.end - range.start,
    pageSize: range.pageSize,
  }));
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
