/** A range of ports or of guest physical addresses: one, or the first and the last, both included. */
export type AddressRange = number | readonly [first: number, last: number];

/** One of a machine's two address spaces for devices: I/O ports, or memory-mapped I/O. */
export interface Bus<Handler> {
  /**
   * Hands the accesses to `range` to `handler`, until the returned object is disposed.
   *
   * @throws {RangeError} When the range is none, is outside the bus, or meets another handler's.
   * @throws {TypeError} When the handler has neither `read` nor `write`.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   *   in al, 0x60
   *   hlt
   * `);
   * vm.ports.on(0x60, { read: () => 0x1c });
   * vm.run();
   * console.log(vm.registers.al); // 28
   * ```
   */
  on(range: AddressRange, handler: Handler): Disposable;
}
