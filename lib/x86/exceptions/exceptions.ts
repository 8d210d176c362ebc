import { noneOfThatName } from "../nearest_names.ts";
import type { FlagTable } from "../registers/flags.ts";
import { hex } from "../hex.ts";

/** When the CPU raises it, and where that leaves the instruction pointer (Intel SDM Vol. 3A, 6.5). */
export type ExceptionKind =
  /** At the instruction, which has done nothing and can be tried again. */
  | "fault"
  /** Behind the instruction. */
  | "trap"
  /** At a fault or behind a trap: #DB can be either. */
  | "fault or trap"
  /** At no certain place. */
  | "abort"
  /** Between two instructions, from outside. */
  | "interrupt";

/** The names of the vectors 0 to 31; reserved ones are called by their number (Intel SDM Vol. 3A, table 6-1). */
export type ExceptionName =
  | ("#DE" | "#DB" | "NMI" | "#BP" | "#OF" | "#BR" | "#UD" | "#NM" | "#DF" | "#9" | "#TS" | "#NP")
  | ("#SS" | "#GP" | "#PF" | "#15" | "#MF" | "#AC" | "#MC" | "#XM" | "#VE" | "#CP" | "#22" | "#23")
  | ("#24" | "#25" | "#26" | "#27" | "#HV" | "#VC" | "#SX" | "#31");

/** One of the vectors that belong to the CPU (Intel SDM Vol. 3A, 6.15). */
export interface Exception {
  /** Its vector, 0 to 31. */
  readonly vector: number;
  /** The manuals' mnemonic: `"#GP"`. */
  readonly name: ExceptionName;
  /** What it is in words: `"general protection"`. */
  readonly title: string;
  /** When it is raised. */
  readonly kind: ExceptionKind;
  /** Whether the CPU pushes an error code, which it never does in real mode. */
  readonly hasErrorCode: boolean;
}

/** Number of vectors that belong to the CPU (Intel SDM Vol. 3A, table 6-1). */
export const EXCEPTION_VECTORS = 32;

type Row = readonly [name: ExceptionName, title: string, kind: ExceptionKind, code?: "error code"];

const ROWS: readonly Row[] = [
  ["#DE", "divide error", "fault"],
  ["#DB", "debug", "fault or trap"],
  ["NMI", "non-maskable interrupt", "interrupt"],
  ["#BP", "breakpoint", "trap"],
  ["#OF", "overflow", "trap"],
  ["#BR", "bound range exceeded", "fault"],
  ["#UD", "invalid opcode", "fault"],
  ["#NM", "device not available", "fault"],
  ["#DF", "double fault", "abort", "error code"],
  ["#9", "coprocessor segment overrun", "fault"],
  ["#TS", "invalid TSS", "fault", "error code"],
  ["#NP", "segment not present", "fault", "error code"],
  ["#SS", "stack fault", "fault", "error code"],
  ["#GP", "general protection", "fault", "error code"],
  ["#PF", "page fault", "fault", "error code"],
  ["#15", "reserved vector 15", "fault"],
  ["#MF", "x87 floating-point error", "fault"],
  ["#AC", "alignment check", "fault", "error code"],
  ["#MC", "machine check", "abort"],
  ["#XM", "SIMD floating-point exception", "fault"],
  ["#VE", "virtualization exception", "fault"],
  ["#CP", "control protection", "fault", "error code"],
  ["#22", "reserved vector 22", "fault"],
  ["#23", "reserved vector 23", "fault"],
  ["#24", "reserved vector 24", "fault"],
  ["#25", "reserved vector 25", "fault"],
  ["#26", "reserved vector 26", "fault"],
  ["#27", "reserved vector 27", "fault"],
  ["#HV", "hypervisor injection", "fault"],
  ["#VC", "VMM communication", "fault", "error code"],
  ["#SX", "security exception", "fault", "error code"],
  ["#31", "reserved vector 31", "fault"],
];

/** AMD's name of the vector that Intel calls #XM. */
const ALIASES: Readonly<Record<string, ExceptionName>> = { "#XF": "#XM", "#NMI": "NMI" };

/** The vectors 0 to 31, in order (Intel SDM Vol. 3A, table 6-1; AMD APM Vol. 2, table 8-1). */
export const exceptions: readonly Exception[] = ROWS.map(([name, title, kind, code], vector) => ({
  vector,
  name,
  title,
  kind,
  hasErrorCode: code !== undefined,
}));

/**
 * An exception by its name (with or without `#`, AMD's `#XF` too) or its vector.
 *
 * @param nameOrVector `"#GP"`, `"GP"` or 13.
 * @throws {RangeError} When there is none; the message has the nearest names.
 * @example
 * ```ts
 * import { exceptionOf } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(exceptionOf("#GP").vector, 13);
 * assertEquals(exceptionOf(14).name, "#PF");
 * ```
 */
export function exceptionOf(nameOrVector: string | number): Exception {
  if (typeof nameOrVector === "number") {
    const byVector = exceptions[nameOrVector];
    if (byVector !== undefined) return byVector;
    throw new RangeError(
      `Cannot find exception ${nameOrVector}: the CPU's vectors are whole numbers from 0 to ${
        EXCEPTION_VECTORS - 1
      }`,
    );
  }
  const name = String(nameOrVector).toUpperCase();
  const marked = name.startsWith("#") || name === "NMI" ? name : `#${name}`;
  const found = exceptions.find((each) => each.name === (ALIASES[marked] ?? marked));
  if (found !== undefined) return found;
  throw new RangeError(
    `Cannot find exception ${JSON.stringify(nameOrVector)}: ${
      noneOfThatName(marked, exceptions.map((each) => each.name))
    }`,
  );
}

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

/** A page fault's error code by name (Intel SDM Vol. 3A, 4.7). */
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
 * IDT, it names (Intel SDM Vol. 3A, 6.13).
 *
 * @param errorCode The 32 bits that the CPU pushed.
 * @example
 * ```ts
 * import { describeSelectorErrorCode } from "@vmexit/vmexit/x86";
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

/**
 * The error code of #CP in words (Intel SDM Vol. 3A, 6.15).
 *
 * @param errorCode The 32 bits that the CPU pushed.
 */
export function describeControlProtection(errorCode: number): string {
  const cause = CONTROL_PROTECTION[errorCode & CONTROL_PROTECTION_CAUSE];
  return `error code ${hex(errorCode)}${cause === undefined ? "" : `, ${cause}`}`;
}
