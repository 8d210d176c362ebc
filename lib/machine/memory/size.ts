const UNITS: Record<string, number> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** A size in bytes: a number, or text with a binary unit: `"4K"`, `"2M"`, `"1G"`. */
export type Size = number | string;

/**
 * A size as a number of bytes.
 *
 * @throws {RangeError} When it is not a whole, positive number of bytes, or the text is not of that form.
 *
 * @example
 * ```ts
 * import { sizeInBytes } from "./size.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(sizeInBytes("4K"), 4096);
 * ```
 */
export function sizeInBytes(size: Size): number {
  const match = /^(\d+)([KMG]?)$/.exec(String(size));
  const bytes = match === null ? NaN : Number(match[1]) * UNITS[match[2]];
  if (!Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new RangeError(
      `Cannot read ${
        JSON.stringify(size)
      } as a size: it is not a positive whole number of bytes. ` +
        'Write a number, or text such as "4K", "2M" or "1G".',
    );
  }
  return bytes;
}
