import type { Msr } from "../msrs/msr_number.ts";
import { anyBit, checkSize, fillBits } from "./bits.ts";
import type { MappedMsrs, MsrMapAccess } from "./msr_range.ts";

/**
 * A map of MSRs, by which a guest leaves at RDMSR and WRMSR. It is a view: over its own bytes, or over guest
 * memory, whose map it then changes at once. {@linkcode MsrPermissionMap} is SVM's, {@linkcode VmxMsrBitmap}
 * VMX's.
 */
export abstract class MsrMap {
  /** The map itself, for the guest's memory. */
  readonly bytes: Uint8Array<ArrayBuffer>;

  /**
   * A map over these bytes.
   *
   * @throws {RangeError} When they are more or fewer than `size`.
   */
  constructor(what: string, bytes: Uint8Array<ArrayBuffer>, size: number) {
    checkSize(what, bytes, size);
    this.bytes = bytes;
  }

  /**
   * The bits that the map has for some MSRs.
   *
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
   * @throws {RangeError} When the MSR lies outside the map's ranges, or none has the name.
   */
  intercepts(msr: Msr, access: MsrMapAccess): boolean {
    return this.bitsOf(msr, access).some((bit) => anyBit(this.bytes, bit));
  }
}
