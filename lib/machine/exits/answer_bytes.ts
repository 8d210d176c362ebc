import type { Exit } from "../../kvm/exits/exit.ts";
import { littleEndianBytes, repeated } from "./integer_bytes.ts";

/**
 * A test's answer to a read as the bytes that the guest gets.
 *
 * @param value A number, for each element; or the bytes of the whole access.
 * @throws {RangeError} When it does not fit.
 */
export function answerBytes(value: number | bigint | Uint8Array, exit: Exit): Uint8Array {
  if (exit.reason === "IO" && !(value instanceof Uint8Array)) {
    return repeated(littleEndianBytes(value, exit.size), exit.count);
  }
  const length = "data" in exit ? (exit.data as Uint8Array).length : 0;
  if (!(value instanceof Uint8Array)) return littleEndianBytes(value, length);
  if (value.length === length) return value;
  throw new RangeError(
    `Cannot answer a read of ${length} bytes with ${value.length}: give as many as it asks for`,
  );
}
