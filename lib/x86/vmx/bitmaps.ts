import { PortMap } from "../virtualization/ports.ts";
import {
  findMsrRange,
  type MappedMsrs,
  MsrMap,
  type MsrMapAccess,
  type MsrMapRange,
} from "../virtualization/msr_map.ts";

/** Bytes of each of VMX's two I/O bitmaps (Intel SDM Vol. 3C, 24.6.4). */
export const VMX_IO_BITMAP_SIZE = 0x1000;

/**
 * VMX's I/O bitmaps: a bit for each port, A for ports 0 to 0x7fff and B for 0x8000 to 0xffff, by which a
 * guest leaves at IN, OUT, INS and OUTS while the control `use_io_bitmaps` is set (Intel SDM Vol. 3C, 24.6.4
 * and 25.1.3). An access of several bytes is intercepted when one of its ports is, and always when it passes
 * port 0xffff.
 *
 * They are views: over their own bytes, or over guest memory, whose bitmaps they then change at once.
 *
 * @example
 * ```ts
 * import { VmxIoBitmaps } from "@vmexit/vmexit/vmx";
 * import { assertEquals } from "@std/assert";
 *
 * const bitmaps = new VmxIoBitmaps().intercept([0x7fff, 0x8000]);
 * assertEquals([bitmaps.a[0xfff], bitmaps.b[0]], [0x80, 0x01]);
 * assertEquals([bitmaps.intercepts(0x7ffe), bitmaps.intercepts(0x7ffe, 2)], [false, true]);
 * ```
 */
export class VmxIoBitmaps extends PortMap {
  /** Bitmap A, 4 KiB, for the guest's memory. Its address goes into `address_of_io_bitmap_a`. */
  readonly a: Uint8Array<ArrayBuffer>;
  /** Bitmap B, 4 KiB, for the guest's memory. Its address goes into `address_of_io_bitmap_b`. */
  readonly b: Uint8Array<ArrayBuffer>;

  /**
   * Bitmaps over these bytes; over new ones, which intercept nothing, where none are given.
   *
   * @param a 4 KiB, such as `vm.memory.view(gpa, VMX_IO_BITMAP_SIZE)`.
   * @param b 4 KiB.
   * @throws {RangeError} When there are more or fewer.
   */
  constructor(
    a: Uint8Array<ArrayBuffer> = new Uint8Array(VMX_IO_BITMAP_SIZE),
    b: Uint8Array<ArrayBuffer> = new Uint8Array(VMX_IO_BITMAP_SIZE),
  ) {
    super({ "I/O bitmap A": a, "I/O bitmap B": b }, VMX_IO_BITMAP_SIZE);
    this.a = a;
    this.b = b;
  }
}

/** Bytes of VMX's MSR bitmap (Intel SDM Vol. 3C, 24.6.9). */
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
