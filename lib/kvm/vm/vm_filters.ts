import { KVM_MSR_FILTER } from "../abi/constants.ts";
import { kvm_msr_filter, kvm_pmu_event_filter } from "../abi/structs/msr.ts";
import { type IoctlTarget, structBytes, structWithData } from "../ioctl_target.ts";

const BITS_PER_LONG = 64;
const BYTES_PER_LONG = 8;
const BITS_PER_BYTE = 8;

/** A range of MSRs in a filter: {@linkcode VmFilters.x86SetMsrFilter}. */
export interface MsrFilterRange {
  /** `KVM_MSR_FILTER.READ`, `KVM_MSR_FILTER.WRITE`, or both: which accesses it decides. */
  readonly flags: number;
  /** The first MSR. */
  readonly base: number;
  /** How many MSRs. */
  readonly nmsrs: number;
  /** A bit for each MSR, the first in the lowest: 1 allows, 0 denies. */
  readonly bitmap: Uint8Array;
}

/** A filter of PMU events: {@linkcode VmFilters.setPmuEventFilter}. */
export interface PmuEventFilter {
  /** `KVM_PMU_EVENT.ALLOW` or `KVM_PMU_EVENT.DENY`: what becomes of `events`. */
  readonly action: number;
  /** Event select and unit mask of each, or masked events. */
  readonly events: readonly bigint[];
  /** A bit for each fixed counter, by `action` too. */
  readonly fixedCounterBitmap?: number;
  /** `KVM_PMU_EVENT.FLAG_MASKED_EVENTS`, or none. */
  readonly flags?: number;
}

/**
 * What a VM lets its guest reach. Each throws a KvmError when the kernel refuses, and a CapabilityError
 * when it lacks the capability.
 */
export class VmFilters {
  readonly #target: IoctlTarget;

  /** Use {@linkcode Vm.filters}. */
  constructor(target: IoctlTarget) {
    this.#target = target;
  }

  /**
   * Denies MSRs to the guest, which gets #GP, or makes exits where `KVM_CAP_X86_USER_SPACE_MSR` asks for
   * them (`KVM_X86_SET_MSR_FILTER`, api.rst 4.97).
   *
   * @param flags `KVM_MSR_FILTER.DEFAULT_ALLOW` or `KVM_MSR_FILTER.DEFAULT_DENY`: what becomes of all other
   *   MSRs.
   * @throws {RangeError} When there are more than 16 ranges, or a bitmap has not a bit for each MSR of its
   *   range.
   */
  x86SetMsrFilter(flags: number, ranges: readonly MsrFilterRange[]): void {
    if (ranges.length > KVM_MSR_FILTER.MAX_RANGES) {
      throw new RangeError(
        `Cannot set a filter of ${ranges.length} ranges: it takes ${KVM_MSR_FILTER.MAX_RANGES}`,
      );
    }
    const sizes = ranges.map(bitmapSize);
    const total = sizes.reduce((sum, size) => sum + size, 0);
    const { bytes, dataStart, dataAddress } = structWithData(
      this.#target.libc,
      kvm_msr_filter.size,
      total,
    );
    let offset = 0;
    const placed = ranges.map(({ flags, base, nmsrs, bitmap }, index) => {
      bytes.set(bitmap, dataStart + offset);
      const range = { flags, base, nmsrs, bitmap: dataAddress + BigInt(offset) };
      offset += sizes[index];
      return range;
    });
    kvm_msr_filter.write(new DataView(bytes.buffer), 0, { flags, ranges: placed });
    this.#target.call("KVM_X86_SET_MSR_FILTER", bytes);
  }

  /**
   * Says which events the guest may count (`KVM_SET_PMU_EVENT_FILTER`, api.rst 4.120).
   *
   * @param filter The events, and whether they are allowed or denied.
   */
  setPmuEventFilter({ action, events, fixedCounterBitmap, flags }: PmuEventFilter): void {
    const value = { action, events, fixed_counter_bitmap: fixedCounterBitmap, flags };
    const bytes = structBytes(kvm_pmu_event_filter, value, events.length);
    this.#target.call("KVM_SET_PMU_EVENT_FILTER", bytes);
  }
}

/** Bytes of a range's bitmap as the kernel reads them: whole words. */
function bitmapSize({ base, nmsrs, bitmap }: MsrFilterRange): number {
  const needed = Math.ceil(nmsrs / BITS_PER_BYTE);
  if (bitmap.length === needed && needed <= KVM_MSR_FILTER.MAX_BITMAP_SIZE) {
    return Math.ceil(nmsrs / BITS_PER_LONG) * BYTES_PER_LONG;
  }
  throw new RangeError(
    `Cannot filter ${nmsrs} MSRs from 0x${
      base.toString(16)
    } by a bitmap of ${bitmap.length} bytes: it takes ` +
      `${needed}, and KVM takes ${KVM_MSR_FILTER.MAX_BITMAP_SIZE} at the most`,
  );
}
