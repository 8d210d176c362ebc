import type { AddressRange, Bus } from "./bus.ts";
import type { Notification, NotifyOptions } from "./notification.ts";

/**
 * One of a machine's two address spaces for devices, `vm.ports` or `vm.mmio`: handlers that take exits, and what
 * the kernel takes without an exit.
 */
export interface DeviceBus<Handler> extends Bus<Handler> {
  /**
   * Counts the guest's writes to an address in an eventfd (an ioeventfd), as long as what it returns is not
   * disposed. Such a write makes no exit, and nothing else sees it; reads, and writes that are not counted, are exits
   * as ever.
   *
   * @throws {RangeError} When there is no such address, memory lies there, a handler would never see a write again,
   *   another notification counts the same writes, or `datamatch` does not fit.
   * @throws {TypeError} When `length` cannot be, or `datamatch` is given without it.
   * @throws {CapabilityError} When the kernel lacks KVM_CAP_IOEVENTFD, or, without a `length`,
   *   KVM_CAP_IOEVENTFD_ANY_LENGTH.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   *   mov al, 1
   *   out 0x50, al
   *   out 0x50, al
   *   hlt
   * `);
   * const doorbell = vm.ports.notify(0x50, { length: 1, datamatch: 1 });
   * vm.run();
   * console.log(doorbell.count, vm.log.total); // 2 1
   * ```
   */
  notify(address: number, options?: NotifyOptions): Notification;

  /**
   * Hands the accesses to a range to `handler` as `on` does, and lets the kernel gather the writes: they make no
   * exits, and reach the handler in their order before the guest's next exit is handled (a full ring, of 169 writes,
   * makes one, and on some kernels fewer do). They are not in the log.
   *
   * @throws {TypeError} When the handler takes no writes.
   * @throws {RangeError} When the range is none, or is taken.
   * @throws {CapabilityError} When the kernel lacks KVM_CAP_COALESCED_MMIO, or, for ports, KVM_CAP_COALESCED_PIO.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   *   bits 32
   *   mov edi, 0xe0000000
   *   mov ecx, 100
   *   rep stosd
   *   hlt
   * `);
   * let words = 0;
   * vm.mmio.coalesce([0xe0000000, 0xe0000fff], { write: () => void words++ });
   * vm.run();
   * console.log(words, vm.log.total); // 100 1
   * ```
   */
  coalesce(range: AddressRange, handler: Handler): Disposable;
}
