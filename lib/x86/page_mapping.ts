import { LINEAR_ADDRESS_BITS, PHYSICAL_ADDRESS_BITS } from "./canonical.ts";
import { hex } from "./hex.ts";

/** Names of the page sizes. */
export type PageSizeName = "4K" | "2M" | "1G";

/** Bytes of a page by its name. */
export const PAGE_SIZE: Readonly<Record<PageSizeName, number>> = {
  "4K": 2 ** 12,
  "2M": 2 ** 21,
  "1G": 2 ** 30,
};

/** A range of linear addresses, where it leads, and what may be done there. */
export interface PageMapping {
  /** First linear address. Above 2^53 only a bigint is exact. */
  linear: number | bigint;
  /** First guest-physical address; the linear address itself where left out (identity). */
  physical?: number;
  /** Length in bytes. */
  size: number;
  /**
   * What pages to use. `"auto"`, the default, takes 2 MiB pages wherever both addresses are aligned for
   * them and 4 KiB pages elsewhere; 1 GiB pages, which not every CPU has, only on request.
   */
  pageSize?: PageSizeName | "auto";
  /** May be written to. Default true. (Supervisor code is bound by it only while CR0.WP is set.) */
  writable?: boolean;
  /** May be used at CPL 3. Default false. */
  user?: boolean;
  /** Instructions may be fetched. Default true; false needs EFER.NXE. */
  executable?: boolean;
  /** False makes a hole: nothing is written for the range, and no other mapping may cover it. */
  present?: boolean;
}

/** A {@linkcode PageMapping} that was found sound, with nothing left out; `linear` has 64 bits. */
export interface CheckedMapping extends Required<Omit<PageMapping, "linear">> {
  /** First linear address. */
  linear: bigint;
}

const CANONICAL_HALF = 1n << BigInt(LINEAR_ADDRESS_BITS - 1);
const LINEAR_SPACE = 1n << 64n;
const PHYSICAL_END = 2 ** PHYSICAL_ADDRESS_BITS;

/**
 * Fills in what the mappings leave out, refuses those that cannot be, and sorts them by linear address.
 *
 * @throws {RangeError} When an address or size is not a multiple of the page size, the linear range is not
 *   canonical, the physical range passes 52 bits, or two mappings overlap.
 */
export function checkMappings(mappings: readonly PageMapping[]): CheckedMapping[] {
  const checked = mappings.map(checkMapping).sort((a, b) => a.linear < b.linear ? -1 : 1);
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

function checkMapping(mapping: PageMapping): CheckedMapping {
  const { pageSize = "auto", size, present = true } = mapping;
  const linear = toLinear(mapping.linear);
  const physical = mapping.physical ?? (present ? Number(linear) : 0);
  const unit = pageSize === "auto" ? "4K" : pageSize;
  if (!Object.hasOwn(PAGE_SIZE, unit)) {
    throw new RangeError(
      `Cannot map ${
        hex(linear)
      } with pages of "${pageSize}": there are "4K", "2M", "1G" and "auto"`,
    );
  }
  if (size <= 0) {
    throw new RangeError(`Cannot map ${size} bytes at ${hex(linear)}: give one page or more`);
  }
  const amounts = { "linear address": linear, "physical address": physical, "size": size };
  for (const [what, amount] of Object.entries(amounts)) {
    refuseMisaligned(what, amount, unit, linear);
  }
  refuseNonCanonical(linear, size);
  if (physical < 0 || physical + size > PHYSICAL_END) {
    throw new RangeError(
      `Cannot map ${hex(linear)} to physical ${
        hex(physical)
      }: a physical address has ${PHYSICAL_ADDRESS_BITS} bits; give one below ${
        hex(PHYSICAL_END - size)
      }`,
    );
  }
  const { writable = true, user = false, executable = true } = mapping;
  return { linear, physical, size, pageSize, writable, user, executable, present };
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

function refuseNonCanonical(linear: bigint, size: number): void {
  const end = linear + BigInt(size);
  const lowerHalf = linear >= 0n && end <= CANONICAL_HALF;
  const upperHalf = linear >= LINEAR_SPACE - CANONICAL_HALF && end <= LINEAR_SPACE;
  if (lowerHalf || upperHalf) return;
  throw new RangeError(
    `Cannot map linear ${hex(linear)}–${hex(end - 1n)}: it is not canonical; stay below ${
      hex(CANONICAL_HALF)
    } or at and above ${hex(LINEAR_SPACE - CANONICAL_HALF)}`,
  );
}

function describe({ linear, size }: CheckedMapping): string {
  return `linear ${hex(linear)}–${hex(linear + BigInt(size) - 1n)}`;
}
