import { PortMap } from "../virtualization/ports.ts";
import {
  findMsrRange,
  type MappedMsrs,
  MsrMap,
  type MsrMapAccess,
  type MsrMapRange,
} from "../virtualization/msr_map.ts";

/** Bytes of SVM's I/O permission map: three pages (AMD APM Vol. 2, 15.10.1). */
export const IO_PERMISSION_MAP_SIZE = 0x3000;

/**
 * SVM's I/O permission map, IOPM: a bit for each port, by which VMRUN's guest leaves at IN, OUT, INS and OUTS
 * while the intercept `ioio_prot` is set (AMD APM Vol. 2, 15.10.1). An access of several bytes is intercepted
 * when one of its ports is; what would pass port 0xffff has its bits in the third page.
 *
 * It is a view: over its own bytes, or over guest memory, whose map it then changes at once.
 *
 * @example
 * ```ts
 * import { IoPermissionMap } from "@vmexit/vmexit/svm";
 * import { assertEquals } from "@std/assert";
 *
 * const map = new IoPermissionMap().intercept(0x60).intercept([0x3f8, 0x3ff]);
 * assertEquals([map.intercepts(0x60), map.intercepts(0x61), map.intercepts(0x3f5, 4)], [true, false, true]);
 * assertEquals(map.bytes[0x60 / 8], 1);
 * ```
 */
export class IoPermissionMap extends PortMap {
  /** The map itself, 12 KiB, for the guest's memory. Its address goes into the VMCB's `iopm_base_pa`. */
  readonly bytes: Uint8Array<ArrayBuffer>;

  /**
   * A map over these bytes; over new ones, which intercept nothing, where none are given.
   *
   * @param bytes 12 KiB, such as `vm.memory.view(gpa, IO_PERMISSION_MAP_SIZE)`.
   * @throws {RangeError} When there are more or fewer.
   */
  constructor(bytes: Uint8Array<ArrayBuffer> = new Uint8Array(IO_PERMISSION_MAP_SIZE)) {
    super({ "an I/O permission map": bytes }, IO_PERMISSION_MAP_SIZE);
    this.bytes = bytes;
  }
}

/** Bytes of SVM's MSR permission map: two pages (AMD APM Vol. 2, 15.11). */
export const MSR_PERMISSION_MAP_SIZE = 0x2000;

interface MapRange extends MsrMapRange {
  /** Where the range's bits begin in the map. */
  readonly offset: number;
}

const RANGES: readonly MapRange[] = [
  { first: 0, offset: 0 },
  { first: 0xc000_0000, offset: 0x800 },
  { first: 0xc001_0000, offset: 0x1000 },
];

const BITS_PER_BYTE = 8;
/** Each MSR has two bits: the lower for RDMSR, the upper for WRMSR. */
const BITS_PER_MSR = 2;
const READ_BIT = 0;
const WRITE_BIT = 1;

/**
 * SVM's MSR permission map, MSRPM: two bits for each MSR of three ranges, by which VMRUN's guest leaves at
 * RDMSR and WRMSR while the intercept `msr_prot` is set (AMD APM Vol. 2, 15.11). The ranges are 0x0 to
 * 0x1fff, 0xc0000000 to 0xc0001fff and 0xc0010000 to 0xc0011fff; other MSRs are intercepted always.
 *
 * It is a view: over its own bytes, or over guest memory, whose map it then changes at once.
 *
 * @example
 * ```ts
 * import { MsrPermissionMap } from "@vmexit/vmexit/svm";
 * import { assertEquals } from "@std/assert";
 *
 * const map = new MsrPermissionMap().intercept("EFER", "write");
 * assertEquals([map.intercepts("EFER", "read"), map.intercepts("EFER", "write")], [false, true]);
 * assertEquals(map.bytes[0x800 + 0x80 / 4], 0b10);
 * ```
 */
export class MsrPermissionMap extends MsrMap {
  /**
   * A map over these bytes; over new ones, which intercept nothing, where none are given. Its address goes
   * into the VMCB's `msrpm_base_pa`.
   *
   * @param bytes 8 KiB, such as `vm.memory.view(gpa, MSR_PERMISSION_MAP_SIZE)`.
   * @throws {RangeError} When there are more or fewer.
   */
  constructor(bytes: Uint8Array<ArrayBuffer> = new Uint8Array(MSR_PERMISSION_MAP_SIZE)) {
    super("an MSR permission map", bytes, MSR_PERMISSION_MAP_SIZE);
  }

  /** See {@linkcode MsrMap}. */
  protected override bitsOf(msrs: MappedMsrs, access: MsrMapAccess): number[] {
    const { range, index, count } = findMsrRange("the MSR permission map", RANGES, msrs);
    const first = range.offset * BITS_PER_BYTE + index * BITS_PER_MSR;
    const accesses = [
      ...access === "write" ? [] : [READ_BIT],
      ...access === "read" ? [] : [WRITE_BIT],
    ];
    return Array.from({ length: count }, (_, msr) => first + msr * BITS_PER_MSR)
      .flatMap((bit) => accesses.map((each) => bit + each));
  }
}
