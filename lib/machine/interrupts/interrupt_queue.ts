import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import type { InterruptController } from "../../devices/device.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";

/**
 * External interrupts that wait until the guest takes them. KVM injects what `KVM_INTERRUPT` is given at once,
 * whether or not RFLAGS.IF is set: an interrupt is held back here until then, and KVM asked for the moment by
 * `kvm_run.request_interrupt_window` (Documentation/virt/kvm/api.rst, 4.16 and 5).
 */
export class InterruptQueue {
  readonly #vcpu: Vcpu;
  readonly #takesInterrupts: () => boolean;
  #vectors: number[] = [];
  #isWindowAsked = false;
  #controller: InterruptController | undefined;

  /**
   * An empty queue.
   *
   * @param takesInterrupts Whether RFLAGS.IF is set.
   */
  constructor(vcpu: Vcpu, takesInterrupts: () => boolean) {
    this.#vcpu = vcpu;
    this.#takesInterrupts = takesInterrupts;
  }

  /** The vectors that wait, the next first. */
  get waiting(): readonly number[] {
    return this.#vectors;
  }

  /** Adds an interrupt. */
  add(vector: number): void {
    this.#vectors.push(vector);
  }

  /** Connects the CPU's INTR pin. */
  connect(controller: InterruptController): void {
    this.#controller = controller;
  }

  /** Whether the CPU takes external interrupts. */
  get isEnabled(): boolean {
    return this.#takesInterrupts();
  }

  /** Forgets what waits. */
  clear(): void {
    this.#vectors = [];
    this.#isWindowAsked = false;
  }

  /** Asks for an IRQ_WINDOW_OPEN exit, once. */
  askForWindow(): void {
    this.#isWindowAsked = true;
  }

  /** Hands the next interrupt to KVM, if the guest takes it. To be called before each run. */
  beforeRun(): void {
    const { kvmRun, events } = this.#vcpu;
    if (this.#isRequested && this.#canTakeOne()) {
      if (this.#vectors.length > 0) {
        events.interrupt(this.#vectors[0]);
        this.#vectors.shift();
      } else events.interrupt(this.#controller!.acknowledge());
    }
    kvmRun.requestInterruptWindow = this.#isWindowAsked || this.#isRequested;
  }

  /** Whether the exit that `kvm_run` holds is one of this queue's own, which nobody asked for. */
  isOwnExit(): boolean {
    const reason = this.#vcpu.kvmRun.exitReason;
    if (reason === EXIT_REASON.IRQ_WINDOW_OPEN) {
      if (!this.#isWindowAsked) return true;
      this.#isWindowAsked = false;
      return false;
    }
    return reason === EXIT_REASON.HLT && this.wakes;
  }

  /** Whether a CPU that has halted goes on: one with an interrupt does not stay halted. */
  get wakes(): boolean {
    return this.#isRequested && this.#canTakeOne();
  }

  get #isRequested(): boolean {
    return this.#vectors.length > 0 || this.#controller?.hasInterrupt === true;
  }

  #canTakeOne(): boolean {
    if (!this.#takesInterrupts()) return false;
    const { exception, interrupt, nmi } = this.#vcpu.events.getVcpuEvents();
    return interrupt.shadow === 0 && interrupt.injected === 0 && exception.injected === 0 &&
      nmi.injected === 0;
  }
}
