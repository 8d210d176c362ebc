import type { Libc } from "../../ffi/libc.ts";
import { atCaller } from "../../guest/call_site.ts";
import { KVM_IRQCHIP, KVM_IRQFD_FLAG } from "../../kvm/abi/constants.ts";
import { CapabilityError } from "../../kvm/errors.ts";
import type { Vm } from "../../kvm/vm.ts";
import { checkMsiMessage, type MsiMessage } from "../../x86/apic/msi_message.ts";
import { checkOptions } from "../../x86/defined_entries.ts";
import type { PicState } from "../../devices/pic_state.ts";
import { type IoapicState, ioapicState, picState } from "./irqchip.ts";
import { defaultGsis, type InterruptRoute, routingEntries } from "./interrupt_routes.ts";
import { EventFd } from "../../ffi/event_fd.ts";

/** What {@linkcode Interrupts} is made of. */
interface InterruptsInit {
  /** The C library that makes eventfds. */
  readonly libc: Libc;
  /** The VM. */
  readonly vm: Vm;
  /** Whether only the local APICs are in the kernel. */
  readonly isSplit: boolean;
  /** Who disposes eventfds at the latest. */
  readonly attachments: Set<Disposable>;
}

/**
 * The interrupt controllers that the kernel keeps, and the ways into them: `vm.interrupts`. An interrupt may be
 * raised before a run, between runs, and from a handler of the guest's exits; a guest that waits for it in HLT wakes.
 *
 * A GSI (global system interrupt) is the number of a line. At boot GSIs 0 to 15 are lines of the PICs and pins of
 * the IOAPIC, GSIs 16 to 23 pins of the IOAPIC; {@linkcode Interrupts.route} says otherwise. With `irqchip: "split"`
 * there are none until it is called.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { msiMessage } from "@vmexit/vmexit/x86";
 *
 * using vm = boot(asm`
 *   bits 32
 *   mov dword [0xfee000f0], 0x1ff  ; the local APIC's software enable
 *   sti
 *   hlt
 *   cli
 *   hlt
 * on_message:
 *   mov dx, 0x3f8
 *   mov al, 'M'
 *   out dx, al
 *   iret
 * `, { irqchip: true, gates: { 0x50: "on_message" } });
 * vm.run({ until: "halted" }); // the guest waits for its interrupt
 * vm.interrupts.msi(msiMessage({ vector: 0x50 }));
 * vm.run();
 * console.log(vm.serial.text); // M
 * ```
 */
export class Interrupts {
  readonly #parts: InterruptsInit;
  #gsis: ReadonlySet<number>;

  /** The controllers of one VM. */
  constructor(parts: InterruptsInit) {
    this.#parts = parts;
    this.#gsis = parts.isSplit ? new Set() : defaultGsis();
  }

  /**
   * Raises the line of a GSI, until it is lowered.
   *
   * @throws {RangeError} When there is no such GSI.
   */
  raise(gsi: number): void {
    this.#checkGsi("raise", gsi);
    this.#parts.vm.interrupts.irqLine(gsi, 1);
  }

  /**
   * Lowers the line of a GSI.
   *
   * @throws {RangeError} When there is no such GSI.
   */
  lower(gsi: number): void {
    this.#checkGsi("lower", gsi);
    this.#parts.vm.interrupts.irqLine(gsi, 0);
  }

  /**
   * Raises the line of a GSI and lowers it: an edge.
   *
   * @throws {RangeError} When there is no such GSI.
   */
  pulse(gsi: number): void {
    this.raise(gsi);
    this.lower(gsi);
  }

  /**
   * Sends a message-signalled interrupt; {@linkcode msiMessage} makes one by name.
   *
   * @returns Whether a local APIC took it: false where none has its destination's id, and, with KVM, an NMI too, as
   *   long as the guest has not enabled it (bit 8 of the spurious interrupt vector register).
   * @throws {RangeError} When it is none that a local APIC takes.
   * @throws {CapabilityError} When the kernel lacks KVM_CAP_SIGNAL_MSI.
   */
  msi(message: MsiMessage): boolean {
    checkMsiMessage(message);
    const { address, data } = message;
    return this.#parts.vm.interrupts.signalMsi({ address_lo: address, data }) > 0;
  }

  /**
   * Replaces the table of GSIs. A GSI may have a route to the PICs and one to the IOAPIC, or one to a message.
   *
   * @throws {RangeError} When a GSI, a pin or a message cannot be, or routes are in each other's way.
   * @throws {TypeError} When a route has not one target, or one that is not in the kernel (`irqchip: "split"`).
   * @throws {CapabilityError} When the kernel lacks KVM_CAP_IRQ_ROUTING.
   */
  route(routes: readonly InterruptRoute[]): void {
    const { vm, isSplit } = this.#parts;
    const most = vm.capability("KVM_CAP_IRQ_ROUTING");
    if (most === 0) throw new CapabilityError("KVM_SET_GSI_ROUTING", "KVM_CAP_IRQ_ROUTING");
    vm.interrupts.setGsiRouting(routingEntries(routes, most, isSplit));
    this.#gsis = new Set(routes.map(({ gsi }) => gsi));
  }

  /**
   * An eventfd that raises a GSI.
   *
   * @param options `resample` keeps the line raised until the guest ends the interrupt, and counts how often it has:
   *   for level-triggered interrupts.
   * @throws {RangeError} When there is no such GSI.
   * @throws {TypeError} When `resample` is asked of a split machine.
   * @throws {CapabilityError} When the kernel lacks KVM_CAP_IRQFD or KVM_CAP_IRQFD_RESAMPLE.
   * @throws {KvmError} When the GSI has an eventfd with the other kind of line.
   */
  eventfd(gsi: number, options: { readonly resample?: boolean } = {}): InterruptEvent {
    return atCaller(this.eventfd, () => {
      checkOptions("make an eventfd", options, { resample: "flag" });
      return this.#eventfd(gsi, options.resample ?? false);
    });
  }

  #eventfd(gsi: number, resample: boolean): InterruptEvent {
    this.#checkGsi("make an eventfd of", gsi);
    const { libc, vm, attachments, isSplit } = this.#parts;
    if (resample && isSplit) {
      throw new TypeError(
        `Cannot resample GSI ${gsi}: the machine was booted with \`irqchip: "split"\`, so that the kernel does not ` +
          "see its IOAPIC. A handler of IOAPIC_EOI exits sees the end of an interrupt.",
      );
    }
    if (resample && vm.capability("KVM_CAP_IRQFD_RESAMPLE") === 0) {
      throw new CapabilityError("KVM_IRQFD", "KVM_CAP_IRQFD_RESAMPLE");
    }
    return new InterruptEvent({ libc, vm, gsi, resample, attachments });
  }

  /**
   * The registers of the two PICs.
   *
   * @throws {TypeError} On a split machine, whose PICs are not in the kernel.
   */
  get pic(): { readonly master: PicState; readonly slave: PicState } {
    this.#checkIsInKernel("PICs");
    const state = (chip: number) => picState(this.#parts.vm.interrupts.getIrqchip(chip).chip.pic);
    return { master: state(KVM_IRQCHIP.PIC_MASTER), slave: state(KVM_IRQCHIP.PIC_SLAVE) };
  }

  /**
   * The registers of the IOAPIC.
   *
   * @throws {TypeError} On a split machine, whose IOAPIC is not in the kernel.
   */
  get ioapic(): IoapicState {
    this.#checkIsInKernel("IOAPIC");
    return ioapicState(this.#parts.vm.interrupts.getIrqchip(KVM_IRQCHIP.IOAPIC).chip.ioapic);
  }

  #checkIsInKernel(what: string): void {
    if (!this.#parts.isSplit) return;
    throw new TypeError(
      `Cannot read the ${what}: the machine was booted with \`irqchip: "split"\`; only its local APICs are in the kernel`,
    );
  }

  #checkGsi(what: string, gsi: number): void {
    if (this.#gsis.has(gsi)) return;
    const known = [...this.#gsis].sort((a, b) => a - b);
    throw new RangeError(
      `Cannot ${what} GSI ${gsi}: there is no such GSI. The machine has ${
        ranges(known) || "none"
      }; vm.interrupts.route() makes others.`,
    );
  }
}

/** Numbers in order, those in a row as a range: `"0 to 23, 30"`. */
function ranges(numbers: readonly number[]): string {
  const parts: { first: number; last: number }[] = [];
  for (const number of numbers) {
    const latest = parts.at(-1);
    if (latest !== undefined && latest.last + 1 === number) latest.last = number;
    else parts.push({ first: number, last: number });
  }
  return parts.map(({ first, last }) => first === last ? `${first}` : `${first} to ${last}`)
    .join(", ");
}

/** What an {@linkcode InterruptEvent} is made of. */
interface InterruptEventInit {
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
  readonly #parts: InterruptEventInit;
  readonly #event: EventFd;
  readonly #resample: EventFd | undefined;
  #resampled = 0;

  /** Use {@linkcode Interrupts.eventfd}. */
  constructor(parts: InterruptEventInit) {
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
