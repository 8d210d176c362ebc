import { hex } from "../hex.ts";
import { PAGE_SIZE } from "../paging/page_levels.ts";
import { eptAddressBits, type EptPageSize, type EptWalkLength } from "./ept_entry.ts";
import type { VmxMemoryType } from "./memory_type.ts";

/** A range of a guest's physical addresses, where it leads, and what may be done there. */
export interface EptMapping {
  /** The first address, as the nested guest sees it. */
  guest: number;
  /** Where it leads: an address of the guest hypervisor. The same where left out. */
  physical?: number;
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
export function checkEptMapping(
  mapping: EptMapping,
  walkLength: EptWalkLength,
  physicalAddressBits: number,
): Required<EptMapping> {
  const checked: Required<EptMapping> = {
    physical: mapping.guest,
    pageSize: "auto",
    readable: true,
    writable: true,
    executable: true,
    memoryType: "WB",
    ignorePat: false,
    ...mapping,
  };
  const { guest, physical, size, pageSize, readable, writable, executable } = checked;
  const what = `guest-physical ${show(guest)}`;
  if (!["4K", "2M", "1G", "auto"].includes(pageSize)) {
    throw new RangeError(
      `Cannot map ${what} with pages of "${pageSize}": EPT has "4K", "2M", "1G" and "auto"`,
    );
  }
  if (size <= 0) throw new RangeError(`Cannot map ${size} bytes at ${what}: give a page or more`);
  const page = PAGE_SIZE[pageSize === "auto" ? "4K" : pageSize];
  for (const [name, amount] of Object.entries({ guest, physical, size })) {
    if (Number.isSafeInteger(amount) && amount >= 0 && amount % page === 0) continue;
    throw new RangeError(
      `Cannot map ${what}: \`${name}\` is ${show(amount)}; give a multiple of ${hex(page)}`,
    );
  }
  refusePast(what, guest + size, eptAddressBits(walkLength), "with these levels guest-physical");
  refusePast(`${what} to ${hex(physical)}`, physical + size, physicalAddressBits, "physical");
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
