import { EventFd } from "../../ffi/event_fd.ts";
import type { Libc } from "../../ffi/libc.ts";
import { KVM_IRQFD_FLAG } from "../../kvm/abi/constants.ts";
import type { Vm } from "../../kvm/vm.ts";

/** What an {@linkcode InterruptEvent} is made of. */
export interface InterruptEventParts {
  /** The C library that makes eventfds. */
  readonly libc: Libc;
  /** The VM. */
  readonly vm: Vm;
  /** The GSI. */
  readonly gsi: number;
  /** Whether its line stays raised until the guest ends the interrupt. */
  readonly resample: boolean;
  /** Who disposes it at the latest. */
  readonly attachments: Set<Disposable>;
}

/**
 * An eventfd that raises a GSI (an irqfd): from {@linkcode Interrupts.eventfd}. Whoever adds to it raises the
 * interrupt, the test by {@linkcode InterruptEvent.signal}, another thread of the process by its descriptor while
 * the guest waits in HLT.
 */
export class InterruptEvent implements Disposable {
  /** The GSI that it raises. */
  readonly gsi: number;
  readonly #parts: InterruptEventParts;
  readonly #event: EventFd;
  readonly #resample: EventFd | undefined;
  #resampled = 0;

  /** Use {@linkcode Interrupts.eventfd}. */
  constructor(parts: InterruptEventParts) {
    const { libc, vm, gsi, resample, attachments } = parts;
    this.#parts = parts;
    this.gsi = gsi;
    using cleanup = new DisposableStack();
    this.#event = cleanup.use(new EventFd(libc, `the eventfd of GSI ${gsi}`));
    this.#resample = resample
      ? cleanup.use(new EventFd(libc, `the resample eventfd of GSI ${gsi}`))
      : undefined;
    vm.interrupts.irqfd({
      fd: this.#event.number,
      gsi,
      flags: resample ? KVM_IRQFD_FLAG.RESAMPLE : 0,
      resamplefd: this.#resample?.number,
    });
    attachments.add(this);
    cleanup.move();
  }

  /** The eventfd's descriptor. @throws {TypeError} Once it is disposed. */
  get fd(): number {
    return this.#event.number;
  }

  /**
   * How often the guest has ended the interrupt, and the line was lowered: the device then looks whether it still
   * needs it.
   *
   * @throws {TypeError} Once it is disposed, or when it was made without `resample`.
   */
  get resampled(): number {
    if (this.#resample !== undefined) return this.#resampled += this.#resample.take();
    throw new TypeError(
      `Cannot count the resamples of GSI ${this.gsi}: its eventfd was made without { resample: true }`,
    );
  }

  /**
   * Raises the interrupt: for a moment, or, with `resample`, until the guest ends it. A message is delivered at
   * once; a pin is raised by a thread of the kernel soon after.
   *
   * @throws {TypeError} Once it is disposed.
   */
  signal(): void {
    this.#event.signal();
  }

  /** Takes the eventfd from its GSI and closes it; a second call does nothing. */
  [Symbol.dispose](): void {
    if (!this.#event.isOpen) return;
    using cleanup = new DisposableStack();
    cleanup.use(this.#event);
    cleanup.use(this.#resample);
    this.#parts.attachments.delete(this);
    const { vm, gsi } = this.#parts;
    vm.interrupts.irqfd({ fd: this.#event.number, gsi, flags: KVM_IRQFD_FLAG.DEASSIGN });
  }
}
