import { hex } from "../hex.ts";
import { type Msr, msrNumber, msrText } from "../msrs/msr_number.ts";

/** An MSR by name or number, or the first and the last of a range. */
export type MappedMsrs = Msr | readonly [first: Msr, last: Msr];

/** What an MSR map tells apart: RDMSR, WRMSR, or both. */
export type MsrMapAccess = "read" | "write" | "read-write";

/** How many MSRs a map's range has, on Intel's CPUs and on AMD's: 0x2000. */
export const MSR_RANGE_SIZE = 0x2000;

/** A range that a map has bits for. */
export interface MsrMapRange {
  /** The number of its first MSR; it has {@linkcode MSR_RANGE_SIZE}. */
  readonly first: number;
}

/**
 * The range that a map has for some MSRs, where they begin in it, and how many they are.
 *
 * @param map What the map is called, for the message.
 * @throws {RangeError} When an MSR lies in no range of the map, or not all of them in the same.
 */
export function findMsrRange<Range extends MsrMapRange>(
  map: string,
  ranges: readonly Range[],
  msrs: MappedMsrs,
): { range: Range; index: number; count: number } {
  const [first, last] = (typeof msrs === "object" ? msrs : [msrs, msrs]).map(msrNumber);
  const holds = (range: Range, msr: number) =>
    msr >= range.first && msr < range.first + MSR_RANGE_SIZE;
  const range = ranges.find((each) => holds(each, first));
  if (range !== undefined && holds(range, last) && first <= last) {
    return { range, index: first - range.first, count: last - first + 1 };
  }
  const text = first === last
    ? `MSR ${msrText(first)}`
    : `MSRs ${msrText(first)} to ${msrText(last)}`;
  const known = ranges.map((each) =>
    `${hex(each.first)} to ${hex(each.first + MSR_RANGE_SIZE - 1)}`
  );
  throw new RangeError(
    `Cannot intercept ${text}: ${map} has bits for ${
      known.join(", ")
    }; give MSRs of one range. All others are intercepted always`,
  );
}
