import { hex, hexBytes } from "../hex.ts";
import {
  describeControlProtection,
  describeSelectorErrorCode,
  type Exception,
  type ExceptionName,
  exceptions,
  type PageFaultFlag,
  pageFaultFlags,
} from "./exceptions.ts";
import type { PageWalk, WalkedEntry } from "../paging/page_walk.ts";
import { getFlag } from "../registers/flags.ts";

/** What {@linkcode describeFault} tells of (Intel SDM Vol. 3A, 6.13 and 6.15). */
export interface DescribedFault {
  /** The vector, 0 to 255; those from 32 on are no exceptions, and caught in real mode alone. */
  readonly vector: number;
  /** The error code, where the CPU pushed one. */
  readonly errorCode?: number;
  /** Whether it came by the instruction `int`, and is no exception. */
  readonly software?: boolean;
  /** Whether it is an external interrupt through the vector, and no exception. */
  readonly external?: boolean;
  /** Whether it may as well have come by an `int` in front of the instruction. */
  readonly ambiguous?: boolean;
  /** The linear address of the instruction. */
  readonly linear: bigint;
  /** Of a #PF: CR2. */
  readonly cr2?: bigint;
  /** Of a #PF: the walk for CR2. */
  readonly walk?: PageWalk;
  /** Of a #DB: DR6. */
  readonly dr6?: bigint;
  /** The bytes of memory from the instruction on. */
  readonly bytes?: Uint8Array;
}

/** How many bytes of an opcode that the CPU does not know are shown. */
const OPCODE_BYTES = 4;

/** Bits of DR6 (Intel SDM Vol. 3B, 17.2.3), those of breakpoints first. */
const DEBUG_CAUSES = [
  "breakpoint 0",
  "breakpoint 1",
  "breakpoint 2",
  "breakpoint 3",
].map((text, bit) => ({ text, bit })).concat([
  { text: "access to a debug register", bit: 13 },
  { text: "single step", bit: 14 },
  { text: "task switch", bit: 15 },
]);

/** What is to be said of an exception beside its title. */
const REASONS: Readonly<Record<string, string>> = {
  "#DE": ": the divisor is 0, or the quotient does not fit",
  "#BP": ", a trap: rip is behind the instruction",
  "#OF": ", a trap: rip is behind the instruction",
  "#NM": ": CR0.EM or CR0.TS is set",
  "#DF": ": another exception could not be delivered",
};

/**
 * A fault in one line: what it is, where, at which instruction, and why.
 *
 * @param fault Its vector and its linear address, with the error code and the page walk where there are such.
 * @param instruction The instruction's text, where it is known.
 * @example
 * ```ts
 * import { describeFault } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(
 *   describeFault({ vector: 13, errorCode: 0x40, linear: 0x1_0023n }, "mov ds, ax"),
 *   "#GP at 0x10023 (`mov ds, ax`): error code 0x40, selector 0x40 of the GDT",
 * );
 * ```
 */
export function describeFault(fault: DescribedFault, instruction?: string): string {
  const exception = exceptions.at(fault.vector);
  // The title of a software interrupt is its instruction.
  const code = instruction === undefined || fault.software ? "" : ` (\`${instruction}\`)`;
  const text = exception === undefined || fault.software || fault.external
    ? interruptText(exception, fault)
    : detail(exception, fault);
  const other = fault.ambiguous
    ? `; or \`int ${hex(fault.vector)}\` in front of it: without source lines nothing tells which`
    : "";
  return `${faultName(fault)} at ${hex(fault.linear)}${code}: ${text}${other}`;
}

/**
 * What stands for the name of an interrupt that is no exception: its instruction, or its vector (Intel SDM Vol. 3A,
 * 6.3).
 */
export type InterruptName = `int 0x${string}` | `interrupt 0x${string}`;

/**
 * What a fault is called: an exception's name; of an `int` that instruction, and of an interrupt from outside
 * `interrupt` with its vector.
 *
 * @param fault The vector, and whether it came by the instruction `int`, or from outside.
 * @example
 * ```ts
 * import { faultName } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(faultName({ vector: 13 }), "#GP");
 * assertEquals(faultName({ vector: 13, software: true }), "int 0xd");
 * assertEquals(faultName({ vector: 0x21 }), "interrupt 0x21");
 * ```
 */
export function faultName(
  { vector, software, external }: Pick<DescribedFault, "vector" | "software" | "external">,
): ExceptionName | InterruptName {
  if (software) return `int 0x${vector.toString(16)}`;
  const exception = external ? undefined : exceptions.at(vector);
  return exception?.name ?? `interrupt 0x${vector.toString(16)}`;
}

function interruptText(exception: Exception | undefined, { software }: DescribedFault): string {
  const kind = software ? "a software interrupt" : "an interrupt from outside";
  const no = exception === undefined ? "" : ` (no ${exception.name})`;
  return `${kind}${no} for which the guest has no handler`;
}

function detail({ name, title, hasErrorCode }: Exception, fault: DescribedFault): string {
  const { errorCode, cr2, walk, dr6 = 0n, bytes = new Uint8Array() } = fault;
  switch (name) {
    case "#PF":
      return cr2 === undefined || errorCode === undefined
        ? title
        : describePageFault({ errorCode, cr2, walk });
    case "#TS":
    case "#NP":
    case "#SS":
    case "#GP":
      if (errorCode === undefined) return title;
      return `${errorCode === 0 ? `${title}, ` : ""}${describeSelectorErrorCode(errorCode)}`;
    case "#CP":
      return errorCode === undefined ? title : describeControlProtection(errorCode);
    case "#UD":
      return bytes.length === 0 ? title : `${title}, bytes ${opcodeBytes(bytes)}`;
    case "#DB":
      return [title, ...debugCauses(dr6)].join(", ");
    default: {
      const reason = REASONS[name] ?? "";
      // The error codes of #DF and #AC are always 0.
      const code = hasErrorCode && errorCode ? `, error code ${hex(errorCode)}` : "";
      return title + code + reason;
    }
  }
}

function debugCauses(dr6: bigint): string[] {
  return DEBUG_CAUSES
    .filter(({ bit }) => (dr6 >> BigInt(bit)) & 1n)
    .map(({ text }) => text);
}

function opcodeBytes(bytes: Uint8Array): string {
  const shown = hexBytes(bytes.subarray(0, OPCODE_BYTES));
  return `${shown}${bytes.length > OPCODE_BYTES ? " …" : ""}`;
}

/** What is known of a page fault (Intel SDM Vol. 3A, 4.7). */
export interface PageFault {
  /** The error code. */
  readonly errorCode: number;
  /** CR2: the linear address that could not be used. */
  readonly cr2: bigint;
  /** The walk of the page tables for that address, at the time of the fault. */
  readonly walk?: PageWalk;
}

/**
 * A page fault in words: what was tried, at which address, and which entry of the page tables forbids it (Intel SDM
 * Vol. 3A, 4.7).
 *
 * @param fault The error code, the linear address of CR2, and the walk that says which entry is to blame.
 * @example
 * ```ts
 * import { describePageFault, walkPageTables } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const walk = walkPageTables({ cr3: 0x1000n, linear: 0x4000, read: () => 0n });
 * assertEquals(
 *   describePageFault({ errorCode: 0x2, cr2: 0x4000n, walk }),
 *   "write to 0x4000, not present at PML4E",
 * );
 * ```
 */
export function describePageFault(fault: PageFault): string {
  return `${access(fault)}, ${cause(fault)}`;
}

function has({ errorCode }: PageFault, flag: PageFaultFlag): boolean {
  return getFlag(pageFaultFlags, flag, BigInt(errorCode >>> 0)) === true;
}

function access(fault: PageFault): string {
  const verb = has(fault, "id") ? "fetch from" : has(fault, "wr") ? "write to" : "read from";
  const by = has(fault, "us") ? "user " : "";
  const stack = has(fault, "ss") ? "shadow-stack " : "";
  return `${by}${stack}${verb} ${hex(fault.cr2)}`;
}

function cause(fault: PageFault): string {
  const { walk } = fault;
  if (has(fault, "sgx")) return "refused by SGX";
  if (has(fault, "rmp")) return "refused by the reverse-map table";
  if (has(fault, "rsvd")) return `reserved bit set${at(lastLevel(walk, "reserved-bit"))}`;
  if (!has(fault, "p")) {
    const level = lastLevel(walk, "not-present");
    if (level !== undefined) return `not present${at(level)}`;
    return walk !== undefined && "physical" in walk.result
      ? "not present when it was tried, though the page tables map it (a stale TLB entry?)"
      : "not present";
  }
  if (has(fault, "pk")) return "refused by its protection key";
  return forbidden(fault);
}

/** Why an access to a page that is present is refused: the first entry from the root that does not allow it. */
function forbidden(fault: PageFault): string {
  const levels = fault.walk?.levels ?? [];
  const first = (allows: (entry: WalkedEntry) => boolean) => levels.find((each) => !allows(each));
  if (has(fault, "us")) {
    const supervisor = first(({ user }) => user);
    if (supervisor !== undefined) return `supervisor only${at(supervisor.level)}`;
  }
  if (has(fault, "id")) {
    const noExecute = first(({ noExecute }) => !noExecute);
    if (noExecute !== undefined) return `no-execute${at(noExecute.level)}`;
    if (!has(fault, "us") && isUserPage(levels)) return "a user page, while CR4.SMEP is set";
  }
  if (has(fault, "wr")) {
    const readOnly = first(({ writable }) => writable);
    if (readOnly !== undefined) return `read-only${at(readOnly.level)}`;
  }
  if (!has(fault, "us") && isUserPage(levels)) return "a user page, while CR4.SMAP is set";
  return "present, but refused";
}

function isUserPage(levels: readonly WalkedEntry[]): boolean {
  return levels.length > 0 && levels.every(({ user }) => user);
}

function lastLevel(walk: PageWalk | undefined, kind: "not-present" | "reserved-bit") {
  if (walk === undefined || "physical" in walk.result) return undefined;
  return walk.result.fault === kind ? walk.result.level : undefined;
}

function at(level: string | undefined): string {
  return level === undefined ? "" : ` at ${level}`;
}
