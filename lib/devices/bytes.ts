const BYTE_BITS = 8;

/** The number that bytes make, the least significant first: an access that is wider than the registers it meets. */
export function joinBytes(size: number, byteAt: (index: number) => number): number {
  let value = 0;
  for (let index = 0; index < size; index++) value += byteAt(index) * 2 ** (BYTE_BITS * index);
  return value;
}

/** Byte `index` of a number of up to 32 bits. */
export function byteOf(value: number, index: number): number {
  return value >>> BYTE_BITS * index & 0xff;
}
