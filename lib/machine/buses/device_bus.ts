import type { AddressRange, Bus } from "../../devices/bus.ts";
import type { HandlerTable } from "./bus.ts";
import { checkOptions } from "../../x86/defined_entries.ts";
import { Notification, NOTIFY_OPTIONS, type NotifyOptions } from "./notification.ts";
import { atCaller } from "../../guest/call_site.ts";
import type { Libc } from "../../ffi/libc.ts";
import { CapabilityError } from "../../kvm/errors.ts";
import type { Vm } from "../../kvm/vm.ts";
import type { CoalescedWrites } from "./coalesced_writes.ts";
import { formatAddress } from "../../x86/hex.ts";

/**
 * One of a machine's two address spaces for devices, `vm.ports` or `vm.mmio`: handlers that take exits, and what
 * the kernel takes without an exit.
 */
export interface DeviceBus<Handler> extends Bus<Handler> {
  /**
   * Hands what no handler of `on` takes to `handler`, until the returned object is disposed: firmware probes dozens of
   * ports. A later one goes before an earlier, and both before the open bus of the option `unclaimed`.
   *
   * @throws {TypeError} When the handler has neither `read` nor `write`.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   *   in al, 0x60
   *   out 0x61, al
   *   hlt
   * `);
   * vm.ports.otherwise({ name: "the rest", read: () => 0xff, write: console.log });
   * vm.run(); // 97 255 1
   * ```
   */
  otherwise(handler: Handler): Disposable;

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

const BYTE_BITS = 8;

const LENGTHS: readonly unknown[] = [1, 2, 4, 8];

/** The widest access of a port. */
const PORT_LENGTH = 4;

/** What a {@linkcode MachineBus} is made of. */
interface MachineBusInit<Handler> {
  readonly libc: Libc;
  readonly vm: Vm;
  readonly table: HandlerTable<Handler & { readonly name?: string }>;
  /** Whether its addresses are ports. */
  readonly isPort: boolean;
  /** What its addresses are, for messages: `"ports"`. */
  readonly what: string;
  /** The highest address. */
  readonly lastAddress: number;
  /** What the kernel's own devices answer, so that no access there is an exit. */
  readonly kernelDevices: readonly KernelDevice[];
  /** Throws where a range has memory. */
  readonly checkIsNoRam: (first: number, last: number) => void;
  /** Who disposes what it hands out at the latest. */
  readonly attachments: Set<Disposable>;
  readonly coalesced: CoalescedWrites;
}

/** Where a device in the kernel listens. */
export interface KernelDevice {
  readonly name: string;
  readonly first: number;
  readonly last: number;
}

/** A range of addresses whose writes are coalesced. */
interface Zone {
  readonly first: number;
  readonly last: number;
}

/** A {@linkcode DeviceBus} over a table of handlers, which the run loop asks. */
export class MachineBus<Handler extends { readonly write?: unknown }>
  implements DeviceBus<Handler> {
  readonly #parts: MachineBusInit<Handler>;
  readonly #notifications = new Set<Notification>();
  readonly #zones = new Set<Zone>();

  /** A bus over a table of handlers. */
  constructor(parts: MachineBusInit<Handler>) {
    this.#parts = parts;
  }

  /** See {@linkcode Bus.on}. */
  on(range: AddressRange, handler: Handler): Disposable {
    return atCaller(this.on, () => this.#on(range, handler));
  }

  #on(range: AddressRange, handler: Handler): Disposable {
    const [first, last] = boundsOf(range);
    this.#checkIsNoKernelDevice("handle", first, last);
    for (const notification of this.#notifications) {
      if (handler?.write !== undefined && notification.takesAll(first, last)) {
        throw this.#refusal("handle", first, last, "a notification takes all writes there");
      }
    }
    return this.#parts.table.on(range, handler);
  }

  /** See {@linkcode DeviceBus.otherwise}. */
  otherwise(handler: Handler): Disposable {
    return atCaller(this.otherwise, () => this.#parts.table.otherwise(handler));
  }

  /** See {@linkcode DeviceBus.notify}. */
  notify(address: number, options: NotifyOptions = {}): Notification {
    return atCaller(this.notify, () => this.#notify(address, options));
  }

  #notify(address: number, options: NotifyOptions): Notification {
    const { libc, vm, isPort, attachments, table, checkIsNoRam } = this.#parts;
    const { length, datamatch } = options;
    checkOptions("notify of writes", options, NOTIFY_OPTIONS);
    this.#checkLength(address, options);
    const last = address + (length ?? 1) - 1;
    this.#checkRange("notify of writes to", address, last);
    checkIsNoRam(address, last);
    this.#checkIsNoKernelDevice("notify of writes to", address, last);
    if ([...this.#zones].some((zone) => zone.first <= last && address <= zone.last)) {
      throw this.#refusal("notify of writes to", address, last, "writes there are coalesced");
    }
    const isEvery = length === undefined && datamatch === undefined;
    if (isEvery && table.overlapping(address, last)?.write !== undefined) {
      const why = "a handler has them, and would see no write any more. Count only those of a " +
        "`length` and a `datamatch`, or dispose what its on() returned";
      throw this.#refusal("notify of writes to", address, last, why);
    }
    if ([...this.#notifications].some((other) => other.meets(address, options))) {
      const why = "another notification counts the same writes. Dispose it first";
      throw this.#refusal("notify of writes to", address, last, why);
    }
    if (length === undefined && vm.capability("KVM_CAP_IOEVENTFD_ANY_LENGTH") === 0) {
      throw new CapabilityError("KVM_IOEVENTFD", "KVM_CAP_IOEVENTFD_ANY_LENGTH");
    }
    const disposed = (gone: Notification) => void this.#notifications.delete(gone);
    const notification = new Notification({
      libc,
      vm,
      isPort,
      address,
      length,
      datamatch,
      attachments,
      disposed,
    });
    this.#notifications.add(notification);
    return notification;
  }

  /** See {@linkcode DeviceBus.coalesce}. */
  coalesce(range: AddressRange, handler: Handler): Disposable {
    return atCaller(this.coalesce, () => this.#coalesce(range, handler));
  }

  #coalesce(range: AddressRange, handler: Handler): Disposable {
    const [first, last] = boundsOf(range);
    const { vm, isPort, attachments, coalesced, what } = this.#parts;
    if (handler.write === undefined) {
      throw new TypeError(
        `Cannot coalesce the writes to ${what} ${formatAddress(first)} to ${
          formatAddress(last)
        }: the handler has no write(), so that nothing would take them. Reads are exits: hand them over with on().`,
      );
    }
    if ([...this.#notifications].some(({ address }) => address >= first && address <= last)) {
      throw this.#refusal("coalesce the writes to", first, last, "a notification counts them");
    }
    if (isPort && vm.capability("KVM_CAP_COALESCED_PIO") === 0) {
      throw new CapabilityError("KVM_REGISTER_COALESCED_MMIO", "KVM_CAP_COALESCED_PIO");
    }
    using cleanup = new DisposableStack();
    const region = cleanup.use(this.on(range, handler));
    const zone = { addr: first, size: last - first + 1, pio: isPort ? 1 : 0 };
    vm.memory.registerCoalescedMmio(zone);
    const span = { first, last };
    this.#zones.add(span);
    coalesced.countZone(1);
    cleanup.move();
    const result = {
      [Symbol.dispose]: () => {
        if (!this.#zones.delete(span)) return;
        using cleanup = new DisposableStack();
        cleanup.use(region);
        attachments.delete(result);
        // What the guest wrote while the handler was there is the handler's.
        coalesced.deliver();
        coalesced.countZone(-1);
        vm.memory.unregisterCoalescedMmio(zone);
      },
    };
    attachments.add(result);
    return result;
  }

  /**
   * Refuses a range for memory.
   *
   * @throws {RangeError} When a handler or a notification has an address in it.
   */
  checkIsFree(first: number, last: number): void {
    this.#parts.table.checkIsFree(first, last);
    const other = [...this.#notifications].find(({ address }) =>
      address >= first && address <= last
    );
    if (other === undefined) return;
    const why = `a notification has ${formatAddress(other.address)}. Dispose it first`;
    throw this.#refusal("place memory at", first, last, why);
  }

  #checkLength(address: number, { length, datamatch }: NotifyOptions): void {
    const { isPort } = this.#parts;
    if (length !== undefined && (!LENGTHS.includes(length) || isPort && length > PORT_LENGTH)) {
      throw new TypeError(
        `Cannot notify of writes of ${length} bytes: they have 1, 2${
          isPort ? " or 4" : ", 4 or 8"
        }`,
      );
    }
    if (datamatch === undefined) return;
    if (length === undefined) {
      throw new TypeError(
        `Cannot notify of writes of one value to ${
          formatAddress(address)
        }: \`datamatch\` takes a \`length\``,
      );
    }
    const isWhole = typeof datamatch === "bigint" || Number.isSafeInteger(datamatch);
    if (isWhole && BigInt.asUintN(BYTE_BITS * length, BigInt(datamatch)) === BigInt(datamatch)) {
      return;
    }
    throw new RangeError(
      `Cannot notify of writes of ${formatAddress(datamatch)}: it is not a whole number of ${
        BYTE_BITS * length
      } bits`,
    );
  }

  #checkRange(verb: string, first: number, last: number): void {
    const { lastAddress } = this.#parts;
    if (Number.isSafeInteger(first) && first >= 0 && last <= lastAddress) return;
    throw this.#refusal(verb, first, last, `they end at ${formatAddress(lastAddress)}`);
  }

  #checkIsNoKernelDevice(verb: string, first: number, last: number): void {
    const device = this.#parts.kernelDevices.find((each) =>
      each.first <= last && first <= each.last
    );
    if (device === undefined) return;
    const why = `${device.name} in the kernel has ${formatAddress(device.first)} to ${
      formatAddress(device.last)
    }, so that the guest's accesses there cause no exits`;
    throw this.#refusal(verb, first, last, why);
  }

  #refusal(verb: string, first: number, last: number, why: string): RangeError {
    return new RangeError(
      `Cannot ${verb} ${this.#parts.what} ${formatAddress(first)} to ${
        formatAddress(last)
      }: ${why}`,
    );
  }
}

function boundsOf(range: AddressRange): readonly [first: number, last: number] {
  return typeof range === "number" ? [range, range] : range;
}
