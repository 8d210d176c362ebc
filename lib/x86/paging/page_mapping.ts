import { PHYSICAL_ADDRESS_BITS } from "./canonical.ts";
import { hex } from "../hex.ts";
import { PAGE_SIZE, type PageSizeName, pagingFormats, type PagingMode } from "./page_levels.ts";

/** A range of linear addresses, where it leads, and what may be done there (Intel SDM Vol. 3A, 4.6). */
export interface PageMapping {
  /** First linear address. Above 2^53 only a bigint is exact. */
  linear: number | bigint;
  /** First guest-physical address; the linear address itself where left out (identity). */
  physical?: number;
  /** Length in bytes. */
  size: number;
  /**
   * What pages to use. `"auto"`, the default, takes 2 MiB pages (4 MiB ones in 32-bit paging) wherever both
   * addresses are aligned for them and 4 KiB pages elsewhere; 1 GiB pages, which not every CPU has, only on
   * request.
   */
  pageSize?: PageSizeName | "auto";
  /** May be written to. Default true. (Supervisor code is bound by it only while CR0.WP is set.) */
  writable?: boolean;
  /** May be used at CPL 3. Default false. */
  user?: boolean;
  /**
   * Whether the entries that lead to the pages let CPL 3 through; the pages themselves are as `user` says. Default
   * as `user`. An entry that leads to several mappings lets through what one of them needs.
   */
  userTables?: boolean;
  /** Instructions may be fetched. Default true; false needs EFER.NXE, and 32-bit paging does not have it. */
  executable?: boolean;
  /** False makes a hole: nothing is written for the range, and no other mapping may cover it. */
  present?: boolean;
}

/**
 * A {@linkcode PageMapping} that was found sound, with nothing left out; `linear` has 64 bits (Intel SDM Vol. 3A,
 * 4.6).
 */
export interface CheckedMapping extends Required<Omit<PageMapping, "linear">> {
  /** First linear address. */
  linear: bigint;
}

const LINEAR_SPACE = 1n << 64n;
const LINEAR_SPACE_32 = 1n << 32n;
/** Bits of a physical address that entries of 32 bits have room for: in those of 4 MiB pages 8 more (PSE-36). */
const PHYSICAL_BITS_32 = { "4K": 32, "4M": 40 } as const;

/**
 * Fills in what the mappings leave out, refuses those that cannot be, and sorts them by linear address.
 *
 * @param mappings In any order.
 * @param paging The paging mode. Default `"4-level"`.
 * @throws {RangeError} When an address or size is not a multiple of the page size, the paging mode has no such
 *   pages or no no-execute ones, the linear range is not canonical (or passes 32 bits), the physical range
 *   passes what entries can hold, or two mappings overlap.
 */
export function checkMappings(
  mappings: readonly PageMapping[],
  paging: PagingMode = "4-level",
): CheckedMapping[] {
  const checked = mappings
    .map((mapping) => checkMapping(mapping, paging))
    .sort((a, b) => a.linear < b.linear ? -1 : 1);
  checked.forEach((mapping, index) => {
    const before = checked[index - 1];
    if (before !== undefined && before.linear + BigInt(before.size) > mapping.linear) {
      throw new RangeError(
        `Cannot map ${describe(mapping)}: it overlaps the mapping of ${
          describe(before)
        }; give each linear address one mapping`,
      );
    }
  });
  return checked;
}

function checkMapping(mapping: PageMapping, paging: PagingMode): CheckedMapping {
  const { pageSize = "auto", size, present = true } = mapping;
  const linear = toLinear(mapping.linear);
  const physical = mapping.physical ?? (present ? Number(linear) : 0);
  const unit = pageSize === "auto" ? "4K" : pageSize;
  refuseUnknownPages(unit, linear, paging);
  if (size <= 0) {
    throw new RangeError(`Cannot map ${size} bytes at ${hex(linear)}: give one page or more`);
  }
  const amounts = { "linear address": linear, "physical address": physical, "size": size };
  for (const [what, amount] of Object.entries(amounts)) {
    refuseMisaligned(what, amount, unit, linear);
  }
  if (pagingFormats[paging].linearAddressBits === 32) refuseAbove32Bits(linear, size);
  else refuseNonCanonical(linear, size, paging);
  const { writable = true, user = false, userTables = user, executable = true } = mapping;
  refusePhysical(physical, { linear, size, pageSize, paging });
  if (!executable && paging === "32-bit") {
    throw new RangeError(
      `Cannot map ${
        hex(linear)
      } as no-execute: 32-bit paging has no such pages; use PAE or long mode`,
    );
  }
  return { linear, physical, size, pageSize, writable, user, userTables, executable, present };
}

function toLinear(linear: number | bigint): bigint {
  if (typeof linear === "number" && !Number.isSafeInteger(linear)) {
    throw new RangeError(
      `Cannot map the linear address ${linear}: a number holds whole values up to 2^53 - 1 exactly; give a bigint`,
    );
  }
  return BigInt(linear);
}

function refuseMisaligned(
  what: string,
  amount: number | bigint,
  unit: PageSizeName,
  linear: bigint,
): void {
  const whole = typeof amount === "bigint" || Number.isSafeInteger(amount);
  if (whole && BigInt(amount) % BigInt(PAGE_SIZE[unit]) === 0n) return;
  throw new RangeError(
    `Cannot map ${hex(linear)} with pages of ${unit}: the ${what} ${
      whole ? hex(amount) : amount
    } is not a multiple of ${hex(PAGE_SIZE[unit])}`,
  );
}

function refuseUnknownPages(unit: PageSizeName, linear: bigint, paging: PagingMode): void {
  const known = pagingFormats[paging].levels.flatMap(({ page }) => page ?? []).reverse();
  if (known.includes(unit)) return;
  throw new RangeError(
    `Cannot map ${hex(linear)} with pages of "${unit}": in ${paging} paging there are ${
      known.map((name) => `"${name}"`).join(", ")
    } and "auto"`,
  );
}

function refusePhysical(
  physical: number,
  { linear, size, pageSize, paging }: {
    linear: bigint;
    size: number;
    pageSize: PageSizeName | "auto";
    paging: PagingMode;
  },
): void {
  const bits = paging === "32-bit"
    ? PHYSICAL_BITS_32[pageSize === "4M" ? "4M" : "4K"]
    : PHYSICAL_ADDRESS_BITS;
  const end = 2 ** bits;
  if (physical >= 0 && physical + size <= end) return;
  throw new RangeError(
    `Cannot map ${hex(linear)} to physical ${
      hex(physical)
    }: a physical address has ${bits} bits; give one below ${hex(end - size)}`,
  );
}

function refuseAbove32Bits(linear: bigint, size: number): void {
  const end = linear + BigInt(size);
  if (linear >= 0n && end <= LINEAR_SPACE_32) return;
  throw new RangeError(
    `Cannot map linear ${hex(linear)}–${
      hex(end - 1n)
    }: outside long mode linear addresses have 32 bits; stay below ${hex(LINEAR_SPACE_32)}`,
  );
}

function refuseNonCanonical(linear: bigint, size: number, paging: PagingMode): void {
  const half = 1n << BigInt(pagingFormats[paging].linearAddressBits - 1);
  const end = linear + BigInt(size);
  const lowerHalf = linear >= 0n && end <= half;
  const upperHalf = linear >= LINEAR_SPACE - half && end <= LINEAR_SPACE;
  if (lowerHalf || upperHalf) return;
  throw new RangeError(
    `Cannot map linear ${hex(linear)}–${hex(end - 1n)}: it is not canonical; stay below ${
      hex(half)
    } or at and above ${hex(LINEAR_SPACE - half)}`,
  );
}

function describe({ linear, size }: CheckedMapping): string {
  return `linear ${hex(linear)}–${hex(linear + BigInt(size) - 1n)}`;
}
