import type { AnswerFields, Exit } from "../../kvm/exits/exit.ts";
import { checkNames } from "../../x86/defined_entries.ts";

/** What a test may answer an exit by. */
export type TestAnswer = number | bigint | Uint8Array | AnswerFields;

/**
 * Whether a test's answer is the fields of an exit, and not the data of a read.
 *
 * @throws {TypeError} When such an exit is not answered by such a value.
 */
export function isFields(value: TestAnswer, { reason }: Exit): value is AnswerFields {
  if (reason !== "IO" && reason !== "MMIO") {
    checkNames(`answer ${reason} by`, value);
    return true;
  }
  if (typeof value === "number" || typeof value === "bigint" || value instanceof Uint8Array) {
    return false;
  }
  const shown = typeof value === "string" ? JSON.stringify(value) : String(value);
  throw new TypeError(
    `Cannot answer a read by ${shown}: give a number, a bigint, or a Uint8Array of all its bytes`,
  );
}

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

const BYTE_BITS = 8n;

/**
 * `value` as `size` little-endian bytes.
 *
 * @throws {RangeError} When it is not a whole number, is negative, or does not fit.
 */
export function littleEndianBytes(value: number | bigint, size: number): Uint8Array<ArrayBuffer> {
  const integer = typeof value === "number" && !Number.isSafeInteger(value) ? -1n : BigInt(value);
  if (integer < 0n || integer >> (BYTE_BITS * BigInt(size)) !== 0n) {
    throw new RangeError(
      `Cannot answer a read of ${size} byte${size === 1 ? "" : "s"} as 0x${value.toString(16)}: ` +
        `it is not a whole number of ${BYTE_BITS * BigInt(size)} bits`,
    );
  }
  return Uint8Array.from(
    { length: size },
    (_, index) => Number((integer >> (BYTE_BITS * BigInt(index))) & 0xffn),
  );
}

/** Bytes as an integer, the lowest first. */
export function littleEndianInteger(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => value << BYTE_BITS | BigInt(byte), 0n);
}

/** `bytes`, `count` times in a row. */
export function repeated(bytes: Uint8Array, count: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes.length * count).map((_, index) => bytes[index % bytes.length]);
}
