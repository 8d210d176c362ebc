import type { Libc, PageRange, Pages } from "./libc.ts";
import { HUGE_PAGE_SIZE, MADV, PAGE_SIZE } from "./mman.ts";
import { HostError, SystemError } from "./errors.ts";

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
    touched: () =>
      pages.touched().filter((range) => range.start < start + size && range.end > start)
        .map((range) => ({
          start: Math.max(range.start - start, 0),
          end: Math.min(range.end - start, size),
        })),
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

/**
 * Memory of this process, for a KVM on this machine.
 *
 * It is a window of an ordinary `ArrayBuffer`, not a mapping: no view of guest memory can dangle, and the host gives a
 * page only when it is touched.
 *
 * @param size In bytes.
 * @param alignment In bytes, and `offset` where it begins behind a multiple of that.
 * @param addressOf The address of the first byte of some bytes.
 * @param touchedPages Which pages of some memory this process has.
 * @throws {HostError} When there is not that much memory.
 */
export function bufferPages(
  size: number,
  alignment: number,
  offset: number,
  addressOf: (bytes: Uint8Array<ArrayBuffer>) => bigint,
  touchedPages: (address: bigint, size: number) => readonly PageRange[],
): Pages {
  let buffer: ArrayBuffer;
  try {
    buffer = new ArrayBuffer(size + alignment);
  } catch (error) {
    throw new HostError(
      `Cannot allocate ${size} bytes of guest memory: this host does not have them free. ` +
        "Ask for less with the `memory` option.",
      { cause: error },
    );
  }
  const address = addressOf(new Uint8Array(buffer));
  const misalignment = Number(address % BigInt(alignment));
  const start = (offset - misalignment + alignment) % alignment;
  const bytes = new Uint8Array(buffer, start, size);
  return {
    bytes,
    address: address + BigInt(start),
    wrote: () => {},
    view: (from, length) => bytes.subarray(from, from + length),
    touched: () => touchedPages(address + BigInt(start), size),
    [Symbol.dispose]: () => detach(buffer),
  };
}

/** Leaves a buffer, and all views of it, without bytes. */
export function detach(buffer: ArrayBuffer): void {
  if (!buffer.detached) buffer.transfer(0);
}
