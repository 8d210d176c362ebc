/**
 * A value that is about to be written to a register.
 *
 * @param width How many bits it has.
 * @throws {TypeError} When it is no number.
 * @throws {RangeError} When it does not fit.
 */
export function wholeNumber(name: string, value: unknown, width: number): bigint {
  refuseNoNumber(name, value);
  const integer = typeof value === "number" && !Number.isSafeInteger(value) ? -1n : BigInt(value);
  if (BigInt.asUintN(width, integer) === integer) return integer;
  throw new RangeError(
    `Cannot set ${name} as ${value}: it is not a whole number from 0 to 2^${width} - 1`,
  );
}

/** What TypeScript refuses, `BigInt` would take: `true` as 1, `""` as 0. @throws {TypeError} */
export function refuseNoNumber(name: string, value: unknown): asserts value is bigint | number {
  if (typeof value === "bigint" || typeof value === "number") return;
  throw new TypeError(`Cannot set ${name} as ${value}: give a number or a bigint`);
}
