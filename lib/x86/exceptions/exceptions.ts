import { nearestNames } from "../nearest_names.ts";

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

/** The names of the vectors 0 to 31; reserved ones are called by their number. */
export type ExceptionName =
  | ("#DE" | "#DB" | "NMI" | "#BP" | "#OF" | "#BR" | "#UD" | "#NM" | "#DF" | "#9" | "#TS" | "#NP")
  | ("#SS" | "#GP" | "#PF" | "#15" | "#MF" | "#AC" | "#MC" | "#XM" | "#VE" | "#CP" | "#22" | "#23")
  | ("#24" | "#25" | "#26" | "#27" | "#HV" | "#VC" | "#SX" | "#31");

/** One of the vectors that belong to the CPU. */
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

/** Number of vectors that belong to the CPU. */
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
 * @throws {RangeError} When there is none; the message has the nearest names.
 * @example
 * ```ts
 * import { exceptionOf } from "./exceptions.ts";
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
    `Cannot find exception ${
      JSON.stringify(nameOrVector)
    }: there is none of that name; the nearest are ${
      nearestNames(marked, exceptions.map((each) => each.name)).join(", ")
    }`,
  );
}
