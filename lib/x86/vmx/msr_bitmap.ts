import { MsrMap } from "../virtualization/msr_map.ts";
import {
  findMsrRange,
  type MappedMsrs,
  type MsrMapAccess,
  type MsrMapRange,
} from "../virtualization/msr_range.ts";

/** Bytes of VMX's MSR bitmap. */
export const VMX_MSR_BITMAP_SIZE = 0x1000;

const BITS_PER_BYTE = 8;

interface BitmapRange extends MsrMapRange {
  /** Where the range's bits for RDMSR begin, in bytes. */
  readonly read: number;
  /** Where those for WRMSR do. */
  readonly write: number;
}

const RANGES: readonly BitmapRange[] = [
  { first: 0, read: 0, write: 0x800 },
  { first: 0xc000_0000, read: 0x400, write: 0xc00 },
];

/**
 * VMX's MSR bitmap, four bitmaps in one page: reads of low MSRs (0x0 to 0x1fff), reads of high ones
 * (0xc0000000 to 0xc0001fff), writes of low ones, writes of high ones. A guest leaves by them at RDMSR and
 * WRMSR while the control `use_msr_bitmaps` is set; other MSRs are intercepted always (Intel SDM Vol. 3C,
 * 24.6.9 and 25.1.3).
 *
 * It is a view: over its own bytes, or over guest memory, whose bitmap it then changes at once.
 *
 * @example
 * ```ts
 * import { VmxMsrBitmap } from "@vmexit/vmexit/vmx";
 * import { assertEquals } from "@std/assert";
 *
 * const bitmap = new VmxMsrBitmap().intercept("LSTAR", "write");
 * assertEquals([bitmap.intercepts("LSTAR", "read"), bitmap.intercepts("LSTAR", "write")], [false, true]);
 * assertEquals(bitmap.bytes[0xc00 + 0x82 / 8 | 0], 1 << 0x82 % 8);
 * ```
 */
export class VmxMsrBitmap extends MsrMap {
  /**
   * A bitmap over these bytes; over new ones, which intercept nothing, where none are given. Its address goes
   * into `address_of_msr_bitmaps`.
   *
   * @param bytes 4 KiB, such as `vm.memory.view(gpa, VMX_MSR_BITMAP_SIZE)`.
   * @throws {RangeError} When there are more or fewer.
   */
  constructor(bytes: Uint8Array<ArrayBuffer> = new Uint8Array(VMX_MSR_BITMAP_SIZE)) {
    super("an MSR bitmap", bytes, VMX_MSR_BITMAP_SIZE);
  }

  /** See {@linkcode MsrMap}. */
  protected override bitsOf(msrs: MappedMsrs, access: MsrMapAccess): number[] {
    const { range, index, count } = findMsrRange("the MSR bitmap", RANGES, msrs);
    const offsets = [
      ...access === "write" ? [] : [range.read],
      ...access === "read" ? [] : [range.write],
    ];
    return offsets.flatMap((offset) =>
      Array.from({ length: count }, (_, msr) => offset * BITS_PER_BYTE + index + msr)
    );
  }
}
