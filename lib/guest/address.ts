/** Where something of the guest is: an address, which above 2^53 is exact only as a bigint, or the name of a label. */
export type Address = number | bigint | string;

const ADDRESS_BITS = 64;

/**
 * An address of 64 bits, as a bigint.
 *
 * @param what What it is to be, for messages: "an address".
 * @throws {TypeError} When it is neither a number nor a bigint.
 * @throws {RangeError} When it is no whole number from 0 to 2^64 - 1, or not exact.
 */
export function checkAddress(address: unknown, what = "an address"): bigint {
  if (typeof address !== "number" && typeof address !== "bigint") {
    throw new TypeError(
      `Cannot use ${String(address)} as ${what}: give a number, a bigint, or the name of a label`,
    );
  }
  const isExact = typeof address === "bigint" || Number.isSafeInteger(address);
  if (isExact && BigInt.asUintN(ADDRESS_BITS, BigInt(address)) === BigInt(address)) {
    return BigInt(address);
  }
  const isInexact = Number.isInteger(address) && Number(address) > 0;
  throw new RangeError(
    `Cannot use ${address} as ${what}: it is not a whole number from 0 to 2^${ADDRESS_BITS} - 1${
      isInexact ? "; above 2^53 only a bigint is exact" : ""
    }`,
  );
}
