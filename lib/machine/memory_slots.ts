import { HostError } from "../ffi/host_error.ts";
import type { Libc } from "../ffi/libc.ts";
import { PAGE_SIZE } from "../ffi/mman.ts";
import { allocatePages, type Pages } from "../ffi/pages.ts";
import { KVM_PRIVATE_PAGES, LAST_PHYSICAL_ADDRESS } from "../x86/layout.ts";
import { contentBytes } from "./address_space.ts";
import type { SlotOptions } from "./boot_options.ts";
import type { MemorySlot } from "./physical_memory.ts";
import { sizeInBytes } from "./size.ts";

/** `_SC_PHYS_PAGES` of glibc's `bits/confname.h`: how many pages of memory the host has. */
const SC_PHYS_PAGES = 85;

/** A slot as it is made: with the memory that KVM is given. */
export interface AllocatedSlot extends MemorySlot {
  /** Its memory with its address in this process. */
  readonly pages: Pages;
}

interface Range {
  readonly gpa: number;
  readonly size: number;
  readonly what: string;
}

/**
 * Allocates a machine's memory: the main slot at 0, and the others.
 *
 * @throws {RangeError} When a slot is not made of whole pages, overlaps another, or does not hold its
 * content.
 * @throws {HostError} When the host does not have that much memory.
 */
export function createSlots(
  libc: Libc,
  memorySize: number,
  others: readonly SlotOptions[],
): AllocatedSlot[] {
  const all = [{ gpa: 0, size: memorySize, readonly: false }, ...others].map((slot) => ({
    ...slot,
    size: sizeInBytes(slot.size),
  }));
  const ranges = all.map(({ gpa, size }, slot) => ({
    gpa,
    size,
    what: slot === 0 ? "the main memory" : `slots[${slot - 1}]`,
  }));
  for (const range of ranges) checkRange(range);
  checkHostMemory(libc, all.reduce((sum, { size }) => sum + size, 0));
  checkOverlaps(ranges);
  return all.map((slot: SlotOptions & { size: number }, number) => {
    const pages = allocatePages(libc, slot.size);
    if (slot.content !== undefined) fill(pages.bytes, slot.content, ranges[number].what);
    return {
      slot: number,
      gpa: slot.gpa,
      readonly: slot.readonly ?? false,
      bytes: pages.bytes,
      pages,
    };
  });
}

function checkRange({ gpa, size, what }: Range): void {
  const isAligned = (value: number) => Number.isSafeInteger(value) && value % PAGE_SIZE === 0;
  if (!isAligned(gpa) || gpa < 0 || gpa + size - 1 > LAST_PHYSICAL_ADDRESS) {
    throw new RangeError(
      `Cannot place ${what} at ${gpa}: it is not a physical address that is a multiple of ${PAGE_SIZE}`,
    );
  }
  if (!isAligned(size)) {
    throw new RangeError(
      `Cannot make ${what} ${size} bytes large: it is not a multiple of ${PAGE_SIZE}, the size of a page`,
    );
  }
}

function checkOverlaps(ranges: readonly Range[]): void {
  const sorted = [
    ...ranges,
    {
      gpa: KVM_PRIVATE_PAGES.start,
      size: KVM_PRIVATE_PAGES.end - KVM_PRIVATE_PAGES.start,
      what: "the pages that KVM takes on Intel processors",
    },
  ].sort((a, b) => a.gpa - b.gpa);
  for (const [index, range] of sorted.slice(1).entries()) {
    const before = sorted[index];
    if (before.gpa + before.size <= range.gpa) continue;
    throw new RangeError(
      `Cannot place ${range.what} at ${span(range)}: it overlaps ${before.what} at ${span(before)}`,
    );
  }
}

function checkHostMemory(libc: Libc, size: number): void {
  const hostPages = libc.sysconf(SC_PHYS_PAGES);
  // A host that does not say how much it has is asked by the allocation itself.
  if (hostPages < 0) return;
  const hostSize = hostPages * PAGE_SIZE;
  if (size <= hostSize) return;
  throw new HostError(
    `Cannot give the machine ${size} bytes of memory: this host has ${hostSize}. Ask for less with the \`memory\` option.`,
  );
}

function fill(bytes: Uint8Array, content: NonNullable<SlotOptions["content"]>, what: string): void {
  const source = contentBytes(content);
  if (source.length > bytes.length) {
    throw new RangeError(
      `Cannot fill ${what} with ${source.length} bytes: it has ${bytes.length}`,
    );
  }
  bytes.set(source);
}

function span({ gpa, size }: Range): string {
  return `0x${gpa.toString(16)}–0x${(gpa + size - 1).toString(16)}`;
}
