import { getFlag } from "../registers/flags.ts";
import { hex } from "../hex.ts";
import type { PageWalk, WalkedEntry } from "../paging/page_walk.ts";
import { type PageFaultFlag, pageFaultFlags } from "./error_codes.ts";

/** What is known of a page fault. */
export interface PageFault {
  /** The error code. */
  readonly errorCode: number;
  /** CR2: the linear address that could not be used. */
  readonly cr2: bigint;
  /** The walk of the page tables for that address, at the time of the fault. */
  readonly walk?: PageWalk;
}

/**
 * A page fault in words: what was tried, at which address, and which entry of the page tables forbids it.
 *
 * @example
 * ```ts
 * import { describePageFault } from "./describe_page_fault.ts";
 * import { walkPageTables } from "../paging/page_walk.ts";
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
