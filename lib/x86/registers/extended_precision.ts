/** Bits of the significand, whose highest is the integer bit (Intel SDM Vol. 1, 4.2.2). */
const SIGNIFICAND = 64n;
const SIGN = 79n;
const INTEGER_BIT = 1n << 63n;
const BIAS = 16383;
const MOST_EXPONENT = 0x7fff;

const DOUBLE_FRACTION = 52n;
const DOUBLE_BIAS = 1023;
const DOUBLE_MOST_EXPONENT = 0x7ff;
/** The exponent of the least double: 2^-1074. */
const DOUBLE_LEAST = -1074;
/** How many bits the significand is longer than that of a double. */
const EXCESS = SIGNIFICAND - DOUBLE_FRACTION - 1n;

/**
 * The 80 bits of a number in x87's double extended-precision format; every double has its exact equal there
 * (Intel SDM Vol. 1, 4.2.2).
 *
 * @param value Any double, infinities and NaN included.
 * @example
 * ```ts
 * import { numberToExtended } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(numberToExtended(1), 0x3fff_8000_0000_0000_0000n);
 * assertEquals(numberToExtended(-2.5), 0xc000_a000_0000_0000_0000n);
 * ```
 */
export function numberToExtended(value: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const bits = view.getBigUint64(0);
  const sign = bits >> 63n << SIGN;
  const exponent = Number(bits >> DOUBLE_FRACTION & BigInt(DOUBLE_MOST_EXPONENT));
  const fraction = BigInt.asUintN(Number(DOUBLE_FRACTION), bits);
  if (exponent === DOUBLE_MOST_EXPONENT) {
    return extended(sign, MOST_EXPONENT, INTEGER_BIT | fraction << EXCESS);
  }
  if (exponent !== 0) {
    return extended(sign, exponent - DOUBLE_BIAS + BIAS, INTEGER_BIT | fraction << EXCESS);
  }
  if (fraction === 0n) return sign;
  const length = fraction.toString(2).length;
  const shift = SIGNIFICAND - BigInt(length);
  return extended(sign, DOUBLE_LEAST + length - 1 + BIAS, fraction << shift);
}

/**
 * The double that is nearest to a number in x87's double extended-precision format; of two, the even one (Intel SDM
 * Vol. 1, 4.2.2).
 *
 * @param bits Its 80 bits.
 * @example
 * ```ts
 * import { extendedToNumber } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(extendedToNumber(0x3fff_8000_0000_0000_0000n), 1);
 * ```
 */
export function extendedToNumber(bits: bigint): number {
  const sign = (bits >> SIGN & 1n) === 0n ? 1 : -1;
  const exponent = Number(bits >> SIGNIFICAND & BigInt(MOST_EXPONENT));
  const significand = BigInt.asUintN(Number(SIGNIFICAND), bits);
  if (exponent === MOST_EXPONENT) {
    return (significand & ~INTEGER_BIT) === 0n ? sign * Infinity : NaN;
  }
  if (significand === 0n) return sign * 0;
  return sign * scaled(significand, exponent - BIAS - Number(SIGNIFICAND) + 1);
}

/** `significand` times 2^`power`, rounded once. */
function scaled(significand: bigint, power: number): number {
  if (power >= DOUBLE_LEAST) return Number(significand) * 2 ** power;
  const excess = DOUBLE_LEAST - power;
  const isNormal = (significand & INTEGER_BIT) !== 0n && BigInt(excess) <= EXCESS;
  // 2^power itself is too small for a double here.
  if (isNormal) return Number(significand) * 2 ** DOUBLE_LEAST * 2 ** -excess;
  const unit = 1n << BigInt(excess);
  const quotient = significand / unit;
  const rest = significand % unit * 2n;
  const roundsUp = rest > unit || rest === unit && (quotient & 1n) === 1n;
  return Number(quotient + (roundsUp ? 1n : 0n)) * 2 ** DOUBLE_LEAST;
}

function extended(sign: bigint, exponent: number, significand: bigint): bigint {
  return sign | BigInt(exponent) << SIGNIFICAND | significand;
}
