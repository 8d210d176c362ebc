import { EventFd } from "../../ffi/event_fd.ts";
import type { Libc } from "../../ffi/libc.ts";
import { KVM_IOEVENTFD } from "../../kvm/abi/constants.ts";
import type { Vm } from "../../kvm/vm.ts";
import type { NamesOf } from "../../x86/defined_entries.ts";
import { formatAddress } from "../../x86/hex.ts";

/** Which writes a notification counts. */
export interface NotifyOptions {
  /** Only writes of this many bytes. By default those of any width. */
  readonly length?: 1 | 2 | 4 | 8;
  /** Only writes of this value; it takes a `length`. By default those of any value. */
  readonly datamatch?: number | bigint;
}

/** The names of a notification's options. */
export const NOTIFY_OPTIONS: NamesOf<NotifyOptions> = { length: "value", datamatch: "value" };

/** What a {@linkcode Notification} is made of. */
export interface NotificationInit extends NotifyOptions {
  /** The C library that makes eventfds. */
  readonly libc: Libc;
  /** The VM. */
  readonly vm: Vm;
  /** Whether `address` is a port. */
  readonly isPort: boolean;
  /** What is written to. */
  readonly address: number;
  /** Who disposes it at the latest. */
  readonly attachments: Set<Disposable>;
  /** Told when it is disposed. */
  readonly disposed: (notification: Notification) => void;
}

/**
 * An eventfd that counts the guest's writes to an address (an ioeventfd): from {@linkcode DeviceBus.notify}. Such a
 * write makes no exit.
 */
export class Notification implements Disposable {
  /** The port, or the guest physical address. */
  readonly address: number;
  readonly #parts: NotificationInit;
  readonly #event: EventFd;
  #count = 0;

  /** Use {@linkcode DeviceBus.notify}. */
  constructor(parts: NotificationInit) {
    this.#parts = parts;
    this.address = parts.address;
    using cleanup = new DisposableStack();
    const what = `the notification of ${parts.isPort ? "port" : "address"} ${
      formatAddress(parts.address)
    }`;
    this.#event = cleanup.use(new EventFd(parts.libc, what));
    parts.vm.interrupts.ioeventfd(this.#binding(0));
    parts.attachments.add(this);
    cleanup.move();
  }

  /** The eventfd's descriptor, for another thread that waits for it. @throws {TypeError} Once it is disposed. */
  get fd(): number {
    return this.#event.number;
  }

  /**
   * How often the guest has written so far.
   *
   * @throws {TypeError} Once it is disposed.
   */
  get count(): number {
    return this.#count += this.#event.take();
  }

  /** Whether it takes every write that touches a range, so that a handler would see none of them. */
  takesAll(first: number, last: number): boolean {
    const { address, length, datamatch } = this.#parts;
    return datamatch === undefined && length === undefined && address >= first && address <= last;
  }

  /** Whether the kernel could not tell its writes from those of another. */
  meets(address: number, { length, datamatch }: NotifyOptions): boolean {
    const own = this.#parts;
    const isAny = (a: unknown, b: unknown) => a === undefined || b === undefined;
    return own.address === address && (isAny(own.length, length) || own.length === length) &&
      (isAny(own.datamatch, datamatch) || BigInt(own.datamatch!) === BigInt(datamatch!));
  }

  /** Lets the writes be exits again, and closes the eventfd; a second call does nothing. */
  [Symbol.dispose](): void {
    if (!this.#event.isOpen) return;
    using cleanup = new DisposableStack();
    cleanup.use(this.#event);
    this.#parts.attachments.delete(this);
    this.#parts.disposed(this);
    this.#parts.vm.interrupts.ioeventfd(this.#binding(KVM_IOEVENTFD.FLAG_DEASSIGN));
  }

  #binding(flags: number) {
    const { address, length = 0, datamatch, isPort } = this.#parts;
    return {
      addr: address,
      len: length,
      fd: this.#event.number,
      datamatch: datamatch === undefined ? 0n : BigInt(datamatch),
      flags: flags | (isPort ? KVM_IOEVENTFD.FLAG_PIO : 0) |
        (datamatch === undefined ? 0 : KVM_IOEVENTFD.FLAG_DATAMATCH),
    };
  }
}
