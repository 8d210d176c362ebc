import { anyBit, checkSize, fillBits } from "../virtualization/bits.ts";
import {
  checkPort,
  type InterceptedPorts,
  type PortAccessSize,
  portRange,
} from "../virtualization/port_range.ts";

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
export class IoPermissionMap {
  /** The map itself, 12 KiB, for the guest's memory. Its address goes into the VMCB's `iopm_base_pa`. */
  readonly bytes: Uint8Array<ArrayBuffer>;

  /**
   * A map over these bytes; over new ones, which intercept nothing, where none are given.
   *
   * @param bytes 12 KiB, such as `vm.memory.view(gpa, IO_PERMISSION_MAP_SIZE)`.
   * @throws {RangeError} When there are more or fewer.
   */
  constructor(bytes: Uint8Array<ArrayBuffer> = new Uint8Array(IO_PERMISSION_MAP_SIZE)) {
    checkSize("an I/O permission map", bytes, IO_PERMISSION_MAP_SIZE);
    this.bytes = bytes;
  }

  /** Intercepts every port, and what passes port 0xffff. */
  interceptAll(): this {
    this.bytes.fill(0xff);
    return this;
  }

  /** Intercepts nothing. */
  passAll(): this {
    this.bytes.fill(0);
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
    return anyBit(this.bytes, port, size);
  }

  #set(ports: InterceptedPorts, on: boolean): this {
    const { first, count } = portRange(ports);
    fillBits(this.bytes, first, count, on);
    return this;
  }
}
