import { contentBytes, type MemoryContent } from "../../machine/address_space.ts";
import { littleEndianInteger } from "../../machine/integer_bytes.ts";
import { formatBytes, formatInteger } from "../format.ts";

/**
 * What a pattern expects to be written: a number (the value of one access of any width), bytes or text (which may take several
 * accesses), or a function that judges the bytes of one access.
 */
export type ExpectedData = number | bigint | MemoryContent | ((bytes: Uint8Array) => boolean);

/** {@linkcode ExpectedData} as text for failure pages. */
export function expectedDataText(data: ExpectedData | undefined): string {
  if (data === undefined) return "any value";
  if (typeof data === "number" || typeof data === "bigint") return formatInteger(BigInt(data));
  if (typeof data === "function") return data.name === "" ? "a matching value" : data.name;
  return formatBytes(contentBytes(data));
}

/**
 * How many bytes of an occurrence's data are done after `bytes`, or undefined where they are not what was expected.
 *
 * @param done How many bytes of expected data earlier accesses have taken.
 */
export function takeData(
  data: ExpectedData | undefined,
  bytes: Uint8Array,
  done: number,
): { done: number; complete: boolean } | undefined {
  if (data === undefined) return { done: 0, complete: true };
  if (typeof data === "function") return data(bytes) ? { done: 0, complete: true } : undefined;
  if (typeof data === "number" || typeof data === "bigint") {
    return littleEndianInteger(bytes) === BigInt(data) ? { done: 0, complete: true } : undefined;
  }
  const expected = contentBytes(data);
  if (done + bytes.length > expected.length) return undefined;
  if (!bytes.every((byte, index) => byte === expected[done + index])) return undefined;
  return { done: done + bytes.length, complete: done + bytes.length === expected.length };
}

/** Checks, where a pattern is written, what can only be a mistake. */
export function checkExpectedData(what: string, data: ExpectedData | undefined): void {
  if (typeof data === "number" && (!Number.isSafeInteger(data) || data < 0)) {
    throw new RangeError(`Cannot expect ${data} ${what}: it is not a whole number from 0 up`);
  }
  if (typeof data === "bigint" && data < 0n) {
    throw new RangeError(`Cannot expect ${data} ${what}: it is not a whole number from 0 up`);
  }
  if (data === undefined || typeof data === "function" || typeof data === "number") return;
  if (typeof data !== "bigint" && contentBytes(data).length === 0) {
    throw new RangeError(`Cannot expect no bytes ${what}: leave the data out to accept any`);
  }
}
