import { KVM_MSR_FILTER } from "../../kvm/abi/constants.ts";
import type { MsrFilterRange } from "../../kvm/vm/vm_filters.ts";
import { hex } from "../../x86/hex.ts";

/** What is decided of a range of MSRs; a direction that is left out is not decided. */
export interface MsrRule {
  /** The first MSR. */
  readonly first: number;
  /** The last one. */
  readonly last: number;
  /** Whether reads pass. */
  readonly read?: boolean;
  /** Whether writes pass. */
  readonly write?: boolean;
}

/** A filter as `KVM_X86_SET_MSR_FILTER` takes it. */
export interface MsrFilter {
  /** `KVM_MSR_FILTER.DEFAULT_ALLOW` or `KVM_MSR_FILTER.DEFAULT_DENY`. */
  readonly flags: number;
  /** The ranges. */
  readonly ranges: readonly MsrFilterRange[];
}

interface Interval {
  readonly first: number;
  last: number;
}

const BITS_PER_BYTE = 8;
/** What one range of a filter can hold. */
const MOST_MSRS = KVM_MSR_FILTER.MAX_BITMAP_SIZE * BITS_PER_BYTE;

/** KVM never filters these (Documentation/virt/kvm/api.rst, 4.97). */
export const X2APIC_MSRS: readonly [first: number, last: number] = [0x800, 0x8ff];

/** KVM refuses to deny everything by no range at all: this one allows what it never filters. */
const X2APIC_ALLOWED: MsrFilterRange = {
  flags: KVM_MSR_FILTER.READ,
  base: X2APIC_MSRS[0],
  nmsrs: 1,
  bitmap: new Uint8Array([1]),
};

/**
 * Makes KVM's filter of rules. Where rules overlap, the last one decides.
 *
 * @param passes Whether accesses pass that no rule decides.
 * @throws {RangeError} When the MSRs lie too far apart for the 16 ranges of 12288 MSRs that KVM takes.
 */
export function msrFilter(rules: readonly MsrRule[], passes: boolean): MsrFilter {
  const reads = windows(exceptions(rules, "read", passes));
  const writes = windows(exceptions(rules, "write", passes));
  const ranges: MsrFilterRange[] = [];
  for (const read of reads) {
    const base = read[0].first;
    const same = writes.findIndex((write) => JSON.stringify(write) === JSON.stringify(read));
    const flags = KVM_MSR_FILTER.READ | (same < 0 ? 0 : KVM_MSR_FILTER.WRITE);
    if (same >= 0) writes.splice(same, 1);
    ranges.push({ flags, base, ...bitmapOf(read, passes) });
  }
  for (const write of writes) {
    const base = write[0].first;
    ranges.push({ flags: KVM_MSR_FILTER.WRITE, base, ...bitmapOf(write, passes) });
  }
  checkCount(ranges);
  if (passes) return { flags: KVM_MSR_FILTER.DEFAULT_ALLOW, ranges };
  return {
    flags: KVM_MSR_FILTER.DEFAULT_DENY,
    ranges: ranges.length === 0 ? [X2APIC_ALLOWED] : ranges,
  };
}

/** The MSRs for which something else holds than for those that no rule decides, in order. */
function exceptions(
  rules: readonly MsrRule[],
  direction: "read" | "write",
  passes: boolean,
): Interval[] {
  const deciding = rules.filter((rule) => rule[direction] !== undefined);
  const starts = new Set(deciding.flatMap(({ first, last }) => [first, last + 1]));
  const sorted = [...starts].sort((a, b) => a - b);
  const found: Interval[] = [];
  sorted.slice(0, -1).forEach((first, index) => {
    const rule = deciding.findLast((each) => each.first <= first && first <= each.last);
    if (rule === undefined || rule[direction] === passes) return;
    const last = sorted[index + 1] - 1;
    const before = found.at(-1);
    if (before?.last === first - 1) before.last = last;
    else found.push({ first, last });
  });
  return found;
}

/** Gathers intervals into as few ranges as hold them, and cuts those that are longer than a range. */
function windows(intervals: readonly Interval[]): Interval[][] {
  const gathered: Interval[][] = [];
  for (const { first, last } of intervals) {
    for (let start = first; start <= last;) {
      const current = gathered.at(-1);
      const end = current === undefined ? start : current[0].first + MOST_MSRS;
      if (current === undefined || start >= end) {
        gathered.push([{ first: start, last: Math.min(last, start + MOST_MSRS - 1) }]);
        // One more than there can be is enough to refuse them.
        if (gathered.length > KVM_MSR_FILTER.MAX_RANGES) return gathered;
      } else current.push({ first: start, last: Math.min(last, end - 1) });
      start = gathered.at(-1)!.at(-1)!.last + 1;
    }
  }
  return gathered;
}

function bitmapOf(
  window: readonly Interval[],
  passes: boolean,
): { nmsrs: number; bitmap: Uint8Array } {
  const base = window[0].first;
  const nmsrs = window.at(-1)!.last - base + 1;
  const bitmap = new Uint8Array(Math.ceil(nmsrs / BITS_PER_BYTE)).fill(passes ? 0xff : 0);
  for (const { first, last } of window) {
    for (let bit = first - base; bit <= last - base; bit++) {
      bitmap[bit >> 3] ^= 1 << (bit % BITS_PER_BYTE);
    }
  }
  return { nmsrs, bitmap };
}

function checkCount(ranges: readonly MsrFilterRange[]): void {
  if (ranges.length <= KVM_MSR_FILTER.MAX_RANGES) return;
  const bases = ranges.slice(0, 4).map(({ base }) => hex(base)).join(", ");
  throw new RangeError(
    `Cannot filter these MSRs (from ${bases} … on): they take more than the ${KVM_MSR_FILTER.MAX_RANGES} ranges of ` +
      `${MOST_MSRS} MSRs that KVM has for a VM. Name fewer, or nearer ones; denyAll() denies all that allow() does not allow.`,
  );
}
