import type { Libc, Pages } from "./libc.ts";
import { HUGE_PAGE_SIZE, MADV, PAGE_SIZE } from "./mman.ts";
import { SystemError } from "./system_error.ts";

/**
 * A part of some memory, which ends with it.
 *
 * @param start Where it begins, a multiple of the page size.
 */
export function partOf(pages: Pages, start: number, size: number): Pages {
  return {
    bytes: pages.bytes.subarray(start, start + size),
    address: pages.address + BigInt(start),
    wrote: (from, length) => pages.wrote(start + from, length),
    view: (from, length) => pages.view(start + from, length),
    [Symbol.dispose]: () => {},
  };
}

/**
 * Allocates zeroed memory that begins on a page boundary, as KVM asks of guest RAM.
 *
 * @param size In bytes.
 * @throws {HostError} When there is not that much memory.
 */
export function allocatePages(libc: Libc, size: number): Pages {
  return libc.allocatePages(size, PAGE_SIZE, 0);
}

/**
 * Allocates as {@linkcode allocatePages} does, and asks the kernel to use large pages of 2 MiB for it where it
 * can.
 *
 * @param offset Where the memory is to begin within a large page: for guest RAM that of its guest physical
 *   address, since KVM maps a large page only where the two have the same.
 * @throws {HostError} When there is not that much memory.
 * @throws {SystemError} When the kernel has no large pages for processes.
 */
export function allocateHugePages(libc: Libc, size: number, offset: number): Pages {
  const pages = libc.allocatePages(size, HUGE_PAGE_SIZE, offset % HUGE_PAGE_SIZE);
  if (libc.madvise(pages.address, size, MADV.HUGEPAGE) === 0) return pages;
  const error = new SystemError(
    "madvise",
    libc.errno(),
    "the kernel gives processes no large pages; leave out the option `hugePages`",
  );
  pages[Symbol.dispose]();
  throw error;
}
