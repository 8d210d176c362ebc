const BITS_PER_BYTE = 8;

/** Sets or clears `count` bits from bit `first` on; bit 0 is the lowest of the first byte. */
export function fillBits(bytes: Uint8Array, first: number, count: number, on: boolean): void {
  for (let bit = first; bit < first + count; bit++) {
    const mask = 1 << bit % BITS_PER_BYTE;
    const index = Math.floor(bit / BITS_PER_BYTE);
    if (on) bytes[index] |= mask;
    else bytes[index] &= ~mask;
  }
}

/** Whether one of the `count` bits from bit `first` on is set. */
export function anyBit(bytes: Uint8Array, first: number, count = 1): boolean {
  for (let bit = first; bit < first + count; bit++) {
    if (bytes[Math.floor(bit / BITS_PER_BYTE)] >> bit % BITS_PER_BYTE & 1) return true;
  }
  return false;
}

/**
 * Refuses bytes of another length than a structure has.
 *
 * @throws {RangeError} When `bytes` has not `size` bytes.
 */
export function checkSize(what: string, bytes: Uint8Array, size: number): void {
  if (bytes.length === size) return;
  throw new RangeError(
    `Cannot use ${bytes.length} bytes as ${what}: it has ${size} bytes; give that many`,
  );
}
