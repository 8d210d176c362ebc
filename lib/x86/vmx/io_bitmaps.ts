import { anyBit, checkSize, fillBits } from "../virtualization/bits.ts";
import {
  checkPort,
  type InterceptedPorts,
  type PortAccessSize,
  portRange,
} from "../virtualization/port_range.ts";
import { LAST_PORT } from "../layout.ts";

/** Bytes of each of VMX's two I/O bitmaps. */
export const VMX_IO_BITMAP_SIZE = 0x1000;

/** The first port of bitmap B: A has 0 to 0x7fff. */
const FIRST_PORT_OF_B = 0x8000;

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
export class VmxIoBitmaps {
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
    checkSize("I/O bitmap A", a, VMX_IO_BITMAP_SIZE);
    checkSize("I/O bitmap B", b, VMX_IO_BITMAP_SIZE);
    this.a = a;
    this.b = b;
  }

  /** Intercepts every port. */
  interceptAll(): this {
    this.a.fill(0xff);
    this.b.fill(0xff);
    return this;
  }

  /** Intercepts no port. */
  passAll(): this {
    this.a.fill(0);
    this.b.fill(0);
    return this;
  }

  /**
   * Intercepts a port, or a range of them, the last included.
   *
   * @throws {RangeError} When a port is not a whole number from 0 to 0xffff.
   */
  intercept(ports: InterceptedPorts): this {
    return this.#set(ports, true);
  }

  /**
   * Lets a port, or a range of them, through.
   *
   * @throws {RangeError} When a port is not a whole number from 0 to 0xffff.
   */
  pass(ports: InterceptedPorts): this {
    return this.#set(ports, false);
  }

  /**
   * Whether an access of `size` bytes at `port` is intercepted.
   *
   * @throws {RangeError} When the port is not a whole number from 0 to 0xffff.
   */
  intercepts(port: number, size: PortAccessSize = 1): boolean {
    checkPort(port);
    if (port + size - 1 > LAST_PORT) return true;
    const { a, b } = split(port, size);
    return anyBit(this.a, a.first, a.count) || anyBit(this.b, b.first, b.count);
  }

  #set(ports: InterceptedPorts, on: boolean): this {
    const { first, count } = portRange(ports);
    const { a, b } = split(first, count);
    fillBits(this.a, a.first, a.count, on);
    fillBits(this.b, b.first, b.count, on);
    return this;
  }
}

interface Bits {
  first: number;
  count: number;
}

/** A range of ports as bits of the two bitmaps. */
function split(first: number, count: number): { a: Bits; b: Bits } {
  const end = first + count;
  const firstOfB = Math.max(first, FIRST_PORT_OF_B);
  return {
    a: { first, count: Math.max(0, Math.min(end, FIRST_PORT_OF_B) - first) },
    b: { first: firstOfB - FIRST_PORT_OF_B, count: Math.max(0, end - firstOfB) },
  };
}
