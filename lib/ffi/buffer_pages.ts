import { HostError } from "./host_error.ts";
import type { Pages } from "./libc.ts";

/**
 * Memory of this process, for a KVM on this machine.
 *
 * It is a window of an ordinary `ArrayBuffer`, not a mapping: no view of guest memory can dangle, and the host gives a
 * page only when it is touched.
 *
 * @param size In bytes.
 * @param alignment In bytes, and `offset` where it begins behind a multiple of that.
 * @param addressOf The address of the first byte of some bytes.
 * @throws {HostError} When there is not that much memory.
 */
export function bufferPages(
  size: number,
  alignment: number,
  offset: number,
  addressOf: (bytes: Uint8Array<ArrayBuffer>) => bigint,
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
    [Symbol.dispose]: () => detach(buffer),
  };
}

/** Leaves a buffer, and all views of it, without bytes. */
export function detach(buffer: ArrayBuffer): void {
  if (!buffer.detached) buffer.transfer(0);
}
