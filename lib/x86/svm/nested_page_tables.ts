import { PHYSICAL_ADDRESS_BITS } from "../paging/canonical.ts";
import { flagAt, type FlagTable } from "../registers/flags.ts";
import { hex } from "../hex.ts";
import type { PageMapping } from "../paging/page_mapping.ts";
import { buildPageTables, type PageTables, type TableArea } from "../paging/page_tables.ts";

/** A range of a guest's physical addresses, and where it leads (AMD APM Vol. 2, 15.25.5). */
export interface NestedMapping
  extends Pick<PageMapping, "size" | "pageSize" | "writable" | "executable"> {
  /** The first address, as the nested guest sees it. */
  gpa: number;
  /** Where it leads: an address of the guest hypervisor. The same where left out. */
  hpa?: number;
}

/** What to build (AMD APM Vol. 2, 15.25.5). */
export interface NestedPageTableOptions {
  /** Where tables go. */
  areas: readonly TableArea[];
  /** What to map, in any order. */
  mappings: readonly NestedMapping[];
  /** The CPU's physical-address width. 52, the architecture's, by default. */
  physicalAddressBits?: number;
}

/**
 * The error code of a nested page fault: `exitinfo1` of `VMEXIT_NPF` (AMD APM Vol. 2, 15.25.6). `exitinfo2`
 * is the guest-physical address.
 */
export const nestedPageFaultFlags: FlagTable<
  "p" | "rw" | "us" | "rsv" | "id" | "ss" | "final" | "tables"
> = {
  p: flagAt(0),
  rw: flagAt(1),
  us: flagAt(2),
  rsv: flagAt(3),
  id: flagAt(4),
  ss: flagAt(6),
  /** The guest's own address was translated. */
  final: flagAt(32),
  /** An entry of the guest's page tables was. */
  tables: flagAt(33),
};

/**
 * Builds the tables of SVM's nested paging: page tables of long mode whose pages are user's, because every
 * nested access counts as one of CPL 3 (AMD APM Vol. 2, 15.25.5). `cr3` goes into the VMCB's `n_cr3`, with
 * `np_enable`. {@linkcode walkPageTables} walks them.
 *
 * @param options What to map, where tables may lie, and the physical-address width.
 * @throws {RangeError} As {@linkcode buildPageTables} does; and when a mapping ends past the physical-address
 *   width.
 * @example
 * ```ts
 * import { buildNestedPageTables } from "@vmexit/vmexit/svm";
 * import { assertEquals } from "@std/assert";
 *
 * const { cr3, writes } = buildNestedPageTables({
 *   areas: [{ start: 0x4_0000, end: 0x5_0000 }],
 *   mappings: [{ gpa: 0, hpa: 0x8_0000, size: 0x1_0000 }],
 * });
 * assertEquals([cr3, writes.length], [0x4_0000n, 4]);
 * ```
 */
export function buildNestedPageTables(
  { areas, mappings, physicalAddressBits = PHYSICAL_ADDRESS_BITS }: NestedPageTableOptions,
): PageTables {
  const end = 2 ** physicalAddressBits;
  return buildPageTables({
    areas,
    mappings: mappings.map(({ gpa, hpa = gpa, size, ...rest }) => {
      if (hpa + size > end) {
        throw new RangeError(
          `Cannot map guest-physical ${hex(gpa)} to ${
            hex(hpa)
          }: physical addresses have ${physicalAddressBits} bits; stay below ${hex(end)}`,
        );
      }
      return { ...rest, linear: gpa, physical: hpa, size, user: true };
    }),
  });
}
