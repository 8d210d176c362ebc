import { type Msr, msrNumber, msrText } from "../msrs/msr_number.ts";
import { anyBit, checkSize, fillBits } from "./bits.ts";
import { hex } from "../hex.ts";

/**
 * A map of MSRs, by which a guest leaves at RDMSR and WRMSR (Intel SDM Vol. 3C, 24.6.9; AMD APM Vol. 2, 15.11). It is
 * a view: over its own bytes, or over guest memory, whose map it then changes at once. {@linkcode MsrPermissionMap} is
 * SVM's, {@linkcode VmxMsrBitmap} VMX's.
 */
export abstract class MsrMap {
  /** The map itself, for the guest's memory. */
  readonly bytes: Uint8Array<ArrayBuffer>;

  /**
   * A map over these bytes.
   *
   * @param what What they are, for messages.
   * @param bytes The map, which is changed in place.
   * @param size How many bytes such a map has.
   * @throws {RangeError} When they are more or fewer than `size`.
   */
  constructor(what: string, bytes: Uint8Array<ArrayBuffer>, size: number) {
    checkSize(what, bytes, size);
    this.bytes = bytes;
  }

  /**
   * The bits that the map has for some MSRs.
   *
   * @param msrs One, or a range of them, the last included.
   * @param access Which of RDMSR and WRMSR.
   * @returns Numbers of bits from the map's first byte on.
   * @throws {RangeError} When an MSR lies outside the map's ranges, or none has the name.
   */
  protected abstract bitsOf(msrs: MappedMsrs, access: MsrMapAccess): number[];

  /** Intercepts every MSR, read and written. */
  interceptAll(): this {
    this.bytes.fill(0xff);
    return this;
  }

  /** Intercepts nothing in the map's ranges. */
  passAll(): this {
    this.bytes.fill(0);
    return this;
  }

  /**
   * Intercepts an MSR, or a range of them, the last included.
   *
   * @param msrs By name or number: `"LSTAR"`, `[0xc0000080, 0xc0000084]`.
   * @param access Which of RDMSR and WRMSR. Default both.
   * @throws {RangeError} When an MSR lies outside the map's ranges, or none has the name.
   */
  intercept(msrs: MappedMsrs, access: MsrMapAccess = "read-write"): this {
    for (const bit of this.bitsOf(msrs, access)) fillBits(this.bytes, bit, 1, true);
    return this;
  }

  /**
   * Lets an MSR, or a range of them, through.
   *
   * @param msrs By name or number: `"LSTAR"`, `[0xc0000080, 0xc0000084]`.
   * @param access Which of RDMSR and WRMSR. Default both.
   * @throws {RangeError} When an MSR lies outside the map's ranges, or none has the name.
   */
  pass(msrs: MappedMsrs, access: MsrMapAccess = "read-write"): this {
    for (const bit of this.bitsOf(msrs, access)) fillBits(this.bytes, bit, 1, false);
    return this;
  }

  /**
   * Whether RDMSR (`"read"`) or WRMSR (`"write"`) of an MSR is intercepted; with `"read-write"`, whether one
   * of them is.
   *
   * @param msr By name or number.
   * @param access Which of the two.
   * @throws {RangeError} When the MSR lies outside the map's ranges, or none has the name.
   */
  intercepts(msr: Msr, access: MsrMapAccess): boolean {
    return this.bitsOf(msr, access).some((bit) => anyBit(this.bytes, bit));
  }
}

/** An MSR by name or number, or the first and the last of a range. */
export type MappedMsrs = Msr | readonly [first: Msr, last: Msr];

/** What an MSR map tells apart: RDMSR, WRMSR, or both (Intel SDM Vol. 3C, 24.6.9; AMD APM Vol. 2, 15.11). */
export type MsrMapAccess = "read" | "write" | "read-write";

/** How many MSRs a map's range has, on Intel's CPUs and on AMD's: 0x2000. */
const MSR_RANGE_SIZE = 0x2000;

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
