/**
 * A whole number that a device is given.
 *
 * @param what What cannot be done with another, and its name: `"make a mouse move by x"`.
 * @throws {RangeError} When it is none, or out of range.
 */
export function checkedInteger(what: string, value: number, first: number, last: number): number {
  if (Number.isSafeInteger(value) && value >= first && value <= last) return value;
  throw new RangeError(
    `Cannot ${what} ${String(value)}: it is not a whole number from ${first} to ${last}`,
  );
}
