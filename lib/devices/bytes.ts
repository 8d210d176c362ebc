/** Bits of a byte. */
export const BYTE_BITS = 8;

/** The number that bytes make, the least significant first: an access that is wider than the registers it meets. */
export function joinBytes(size: number, byteAt: (index: number) => number): number {
  let value = 0;
  for (let index = 0; index < size; index++) value += byteAt(index) * 2 ** (BYTE_BITS * index);
  return value;
}

/**
 * The bytes up to a terminating zero.
 *
 * @param most How many are read where there is none.
 */
export function terminatedBytes(
  byteAt: (index: number) => number,
  most: number,
): Uint8Array<ArrayBuffer> {
  const bytes: number[] = [];
  while (bytes.length < most) {
    const byte = byteAt(bytes.length);
    if (byte === 0) break;
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

/** All ones, of so many bytes of a number. */
export function ones(size: number): number {
  return 2 ** (BYTE_BITS * size) - 1;
}

/** Byte `index` of a number of up to 32 bits. */
export function byteOf(value: number, index: number): number {
  return value >>> BYTE_BITS * index & 0xff;
}
