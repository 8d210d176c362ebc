import type { FlagTable } from "../registers/flags.ts";
import { hex } from "../hex.ts";

/** Flags of a page fault's error code (Intel SDM Vol. 3A, 4.7; `rmp` is AMD's). */
export type PageFaultFlag =
  | "p"
  | "wr"
  | "us"
  | "rsvd"
  | "id"
  | "pk"
  | "ss"
  | "hlat"
  | "sgx"
  | "rmp";

/** A page fault's error code by name. */
export const pageFaultFlags: FlagTable<PageFaultFlag> = {
  p: { bit: 0, width: 1 },
  wr: { bit: 1, width: 1 },
  us: { bit: 2, width: 1 },
  rsvd: { bit: 3, width: 1 },
  id: { bit: 4, width: 1 },
  pk: { bit: 5, width: 1 },
  ss: { bit: 6, width: 1 },
  hlat: { bit: 7, width: 1 },
  sgx: { bit: 15, width: 1 },
  rmp: { bit: 31, width: 1 },
};

/** Bits of an error code that names a selector (Intel SDM Vol. 3A, 6.13). */
const EXTERNAL = 0x1;
const IN_IDT = 0x2;
const IN_LDT = 0x4;
const SELECTOR = 0xfffc;
const INDEX_SHIFT = 3;

/** Causes of #CP by the low bits of its error code (Intel SDM Vol. 3A, 6.15). */
const CONTROL_PROTECTION = [
  undefined,
  "near RET to another address than the shadow stack's",
  "far RET or IRET to another address than the shadow stack's",
  "indirect jump or call to no ENDBRANCH",
  "RSTORSSP to no restore token",
  "SETSSBSY of no free token",
] as const;
const CONTROL_PROTECTION_CAUSE = 0x7fff;

/**
 * The error code of #TS, #NP, #SS and #GP in words: which selector of the GDT or the LDT, or which gate of the
 * IDT, it names.
 *
 * @example
 * ```ts
 * import { describeSelectorErrorCode } from "./error_codes.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(describeSelectorErrorCode(0x10), "error code 0x10, selector 0x10 of the GDT");
 * assertEquals(describeSelectorErrorCode(0x10a), "error code 0x10a, gate 0x21 of the IDT");
 * ```
 */
export function describeSelectorErrorCode(errorCode: number): string {
  const text = `error code ${errorCode === 0 ? 0 : hex(errorCode)}`;
  const external = errorCode & EXTERNAL ? ", while an event from outside was delivered" : "";
  if (errorCode & IN_IDT) {
    return `${text}, gate ${hex((errorCode & SELECTOR) >> INDEX_SHIFT)} of the IDT${external}`;
  }
  const selector = errorCode & SELECTOR;
  if (selector === 0) return text + external;
  return `${text}, selector ${hex(selector)} of the ${
    errorCode & IN_LDT ? "LDT" : "GDT"
  }${external}`;
}

/** The error code of #CP in words. */
export function describeControlProtection(errorCode: number): string {
  const cause = CONTROL_PROTECTION[errorCode & CONTROL_PROTECTION_CAUSE];
  return `error code ${hex(errorCode)}${cause === undefined ? "" : `, ${cause}`}`;
}
