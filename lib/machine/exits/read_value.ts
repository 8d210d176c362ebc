import { hex } from "../../x86/hex.ts";
import { handlerError } from "./handler_error.ts";

const BYTE_BITS = 8;

/** The widest value that a handler gets and gives as a number; above, it is a bigint. */
export const NUMBER_SIZE = 4;

/** The highest value of so many bytes. */
export const LIMITS = [0, 0xff, 0xffff, 0xff_ffff, 0xffff_ffff] as const;

/** What a handler without a name is called. */
export const UNNAMED = "handler";

/** Whether a handler's answer to a read is a whole number of so many bytes. */
export function fits(value: number | bigint, size: number): boolean {
  if (typeof value === "number" && size <= NUMBER_SIZE) {
    return value >= 0 && value <= LIMITS[size] && Number.isInteger(value);
  }
  if (typeof value === "number") {
    return Number.isSafeInteger(value) && value >= 0 && value < 2 ** (BYTE_BITS * size);
  }
  return typeof value === "bigint" && value >= 0n && value >> BigInt(BYTE_BITS * size) === 0n;
}

/** The error for one that is not. */
export function tooWide(
  what: string,
  address: number,
  value: unknown,
  size: number,
  name: string = UNNAMED,
): RangeError {
  const shown = typeof value === "number" || typeof value === "bigint"
    ? `${hex(value)}${typeof value === "bigint" ? "n" : ""}`
    : String(value);
  return handlerError(
    new RangeError(
      `Cannot answer a read of ${size} byte${size === 1 ? "" : "s"} at ${what} ${hex(address)} ` +
        `as ${shown}: what ${name} returned is not a whole number of ${BYTE_BITS * size} bits. ` +
        "The read still waits: the machine can be run on once its handler returns one that fits.",
    ),
  );
}
