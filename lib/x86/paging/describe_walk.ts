import { hex } from "../hex.ts";
import type { PageWalk, WalkedEntry, WalkFault } from "./page_walk.ts";

import { pagingFormats } from "./page_levels.ts";

const DIGITS_PER_BYTE = 2;

/**
 * A walk in lines to read: the address, each entry that was passed, and where it led or why it did not.
 *
 * @example
 * ```ts
 * import { describeWalk } from "./describe_walk.ts";
 * import { walkPageTables } from "./page_walk.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const walk = walkPageTables({ cr3: 0x1000n, linear: 0x4000, read: () => undefined });
 * assertEquals(describeWalk(walk), [
 *   "linear 0x4000, cr3 0x1000",
 *   "not mapped: there is no memory where the PML4E would be",
 * ]);
 * ```
 */
export function describeWalk({ linear, cr3, paging, levels, result }: PageWalk): string[] {
  const digits = pagingFormats[paging].entrySize * DIGITS_PER_BYTE;
  return [
    `linear ${hex(linear)}, cr3 ${hex(cr3)}${paging === "4-level" ? "" : `, ${paging} paging`}`,
    ...levels.map((entry) => describeEntry(entry, digits)),
    "physical" in result
      ? `physical ${hex(result.physical)} in a ${result.pageSize} page: ${
        describePermissions(result.writable, result.user, result.executable)
      }`
      : `not mapped: ${describeFault(result)}`,
  ];
}

function describeEntry(walked: WalkedEntry, digits: number): string {
  const { level, gpa, entry, present, writable, user, noExecute, accessed, dirty } = walked;
  const place = `${level.padEnd("PML4E".length)} at ${hex(gpa)}: ${hex(entry, digits)}`;
  if (!present) return `${place} not present`;
  const marks = [
    describePermissions(writable, user, !noExecute),
    ...(accessed ? ["accessed"] : []),
    ...(dirty && walked.pageSize !== undefined ? ["dirty"] : []),
    ...(walked.pageSize === undefined ? [] : [`${walked.pageSize} page`]),
  ];
  return `${place} ${marks.join(", ")}`;
}

function describePermissions(writable: boolean, user: boolean, executable: boolean): string {
  return [
    writable ? "writable" : "read-only",
    user ? "user" : "supervisor",
    executable ? "executable" : "no-execute",
  ].join(", ");
}

function describeFault({ fault, level }: WalkFault): string {
  switch (fault) {
    case "not-present":
      return `the ${level} is not present`;
    case "reserved-bit":
      return `the ${level} has a reserved bit set`;
    case "outside-memory":
      return `there is no memory where the ${level} would be`;
    case "too-wide":
      return "the address has more than the 32 bits of linear addresses outside long mode";
    case "non-canonical":
      return "the address is not canonical";
  }
}
