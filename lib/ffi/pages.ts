import { HostError } from "./host_error.ts";
import type { Libc } from "./libc.ts";
import { PAGE_SIZE } from "./mman.ts";

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
  let buffer: ArrayBuffer;
  try {
    buffer = new ArrayBuffer(size + PAGE_SIZE);
  } catch (error) {
    throw new HostError(
      `Cannot allocate ${size} bytes of guest memory: this host does not have them free. ` +
        "Ask for less with the `memory` option.",
      { cause: error },
    );
  }
  const address = libc.addressOf(new Uint8Array(buffer));
  const misalignment = Number(address % BigInt(PAGE_SIZE));
  const start = misalignment === 0 ? 0 : PAGE_SIZE - misalignment;
  return { bytes: new Uint8Array(buffer, start, size), address: address + BigInt(start) };
}
