import { contentBytes, type MemoryContent } from "../../machine/memory/address_space.ts";
import { littleEndianInteger } from "../../machine/exits/answer_bytes.ts";
import { formatBytes, formatInteger } from "../format.ts";
import { type Any, any } from "./any.ts";
import { checkValue, holds, type Width } from "./values.ts";

/**
 * What a pattern expects to be written: a number (the value of one access), bytes or text (which may take several
 * accesses), a function that judges the bytes of one access, or {@linkcode any}.
 */
export type ExpectedData = number | bigint | MemoryContent | ((bytes: Uint8Array) => boolean) | Any;

/** {@linkcode ExpectedData} as text for failure pages. */
export function expectedDataText(data: ExpectedData | undefined): string {
  if (data === undefined || data === any) return "any value";
  if (typeof data === "number" || typeof data === "bigint") return formatInteger(data);
  if (typeof data === "function") return data.name === "" ? "a matching value" : data.name;
  return formatBytes(contentBytes(data));
}

/**
 * What is still to come of data of which `done` bytes have, after the pattern's own text; empty before the
 * first.
 */
export function remainingText(data: ExpectedData | undefined, done: number): string {
  if (done === 0 || !isContent(data)) return "";
  return `, from byte ${done} on: ${formatBytes(contentBytes(data).subarray(done))}`;
}

/** How many bytes the data takes, where several accesses may bring them; else 1. */
export function expectedLength(data: ExpectedData | undefined): number {
  return isContent(data) ? contentBytes(data).length : 1;
}

/**
 * How many bytes of an occurrence's data are done after `bytes`, or undefined where they are not what was
 * expected.
 *
 * @param done How many bytes of expected data earlier accesses have taken.
 */
export function takeData(
  data: ExpectedData | undefined,
  bytes: Uint8Array,
  done: number,
): { done: number; complete: boolean } | undefined {
  if (data === undefined || data === any) return { done: 0, complete: true };
  if (typeof data === "function") {
    return holds(data, bytes) ? { done: 0, complete: true } : undefined;
  }
  if (typeof data === "number" || typeof data === "bigint") {
    return littleEndianInteger(bytes) === BigInt(data) ? { done: 0, complete: true } : undefined;
  }
  const expected = contentBytes(data);
  if (done + bytes.length > expected.length) return undefined;
  if (!bytes.every((byte, index) => byte === expected[done + index])) return undefined;
  return { done: done + bytes.length, complete: done + bytes.length === expected.length };
}

/**
 * Checks, where a pattern is written, what can only be a mistake.
 *
 * @throws {RangeError} When no access could bring the data.
 * @throws {TypeError} When it is no data.
 */
export function checkExpectedData(
  where: string,
  data: ExpectedData | undefined,
  width: Width,
): void {
  if (data === undefined || data === any || typeof data === "function") return;
  checkValue("expect", where, data, width);
}

function isContent(data: ExpectedData | undefined): data is MemoryContent {
  return typeof data === "object" || typeof data === "string";
}
