import { HostError } from "./host_error.ts";
import type { Libc } from "./libc.ts";
import { HUGE_PAGE_SIZE, MADV, PAGE_SIZE } from "./mman.ts";
import { SystemError } from "./system_error.ts";

/** Zeroed, page-aligned memory of this process, with its address. */
export interface Pages {
  /** The memory. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The address of its first byte, a multiple of the page size. */
  readonly address: bigint;
}

/**
 * Allocates zeroed memory that begins on a page boundary, as KVM asks of guest RAM.
 *
 * It is a window of an ordinary `ArrayBuffer`, not a mapping: the garbage collector frees it when the last
 * view is gone, so no view of guest memory can dangle, and the host gives a page only when it is touched.
 *
 * @param size In bytes.
 * @throws {HostError} When there is not that much memory.
 */
export function allocatePages(libc: Libc, size: number): Pages {
  return allocate(libc, size, PAGE_SIZE, 0);
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
  const pages = allocate(libc, size, HUGE_PAGE_SIZE, offset % HUGE_PAGE_SIZE);
  if (libc.madvise(pages.address, size, MADV.HUGEPAGE) === 0) return pages;
  throw new SystemError(
    "madvise",
    libc.errno(),
    "the kernel gives processes no large pages; leave out the option `hugePages`",
  );
}

function allocate(libc: Libc, size: number, alignment: number, offset: number): Pages {
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
  const address = libc.addressOf(new Uint8Array(buffer));
  const misalignment = Number(address % BigInt(alignment));
  const start = (offset - misalignment + alignment) % alignment;
  return { bytes: new Uint8Array(buffer, start, size), address: address + BigInt(start) };
}
