/**
 * A number as the manuals write it: `0x10ff`, in lower case, padded with zeros to `digits`; what is no whole number is
 * shown as it was given.
 *
 * @example
 * ```ts
 * import { hex } from "./hex.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(hex(0x10ff), "0x10ff");
 * assertEquals(hex(0x3fdn, 4), "0x03fd");
 * ```
 */
export function hex(value: number | bigint, digits = 1): string {
  if (typeof value === "number" && !Number.isInteger(value)) return String(value);
  return value < 0 ? `-${hex(-value, digits)}` : `0x${value.toString(16).padStart(digits, "0")}`;
}

/** Bytes as pairs of hex digits: `48 65`. */
export function hexBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/** An address in hex, for messages; what is none is shown as it was given. */
export function formatAddress(address: number | bigint): string {
  const isAddress = (typeof address === "bigint" || Number.isSafeInteger(address)) && address >= 0;
  return isAddress ? hex(address) : String(address);
}
