import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import type { InterruptController } from "../../devices/device.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";

/** What waits in an {@linkcode InterruptQueue}. */
export interface InterruptQueueState {
  readonly waiting: readonly number[];
  readonly handed: number | undefined;
  readonly isWindowAsked: boolean;
}

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
  #handed: number | undefined;
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

  /** The vector that was handed to KVM since the guest went on from its latest exit; undefined where none was. */
  get handed(): number | undefined {
    return this.#handed;
  }

  /** To be called where the guest goes on from an exit: what it had taken before that has had its effect. */
  goesOn(): void {
    // A step may have ended in front of the handler's first instruction.
    if (this.#vcpu.kvmRun.exitReason !== EXIT_REASON.DEBUG) this.#handed = undefined;
  }

  /** Adds an interrupt. */
  add(vector: number): void {
    this.#vectors.push(vector);
    this.#vcpu.needsAttention = true;
  }

  /** Connects the CPU's INTR pin. */
  connect(controller: InterruptController): void {
    this.#controller = controller;
    this.#vcpu.needsAttention = true;
  }

  /** Whether the CPU takes external interrupts. */
  get isEnabled(): boolean {
    return this.#takesInterrupts();
  }

  /** Whether there is nothing to be done before the guest runs, nor was anything done that its next exit shows. */
  get isIdle(): boolean {
    return this.#vectors.length === 0 && this.#controller === undefined && !this.#isWindowAsked &&
      this.#handed === undefined;
  }

  /** What waits, for {@linkcode InterruptQueue.restore}. */
  save(): InterruptQueueState {
    const { waiting, handed } = this;
    return { waiting: [...waiting], handed, isWindowAsked: this.#isWindowAsked };
  }

  /** The same waits again. */
  restore({ waiting, handed, isWindowAsked }: InterruptQueueState): void {
    this.#vectors = [...waiting];
    this.#handed = handed;
    this.#isWindowAsked = isWindowAsked;
  }

  /** Forgets what waits. */
  clear(): void {
    this.#vectors = [];
    this.#isWindowAsked = false;
  }

  /** Asks for an IRQ_WINDOW_OPEN exit, once. */
  askForWindow(): void {
    this.#isWindowAsked = true;
    this.#vcpu.needsAttention = true;
  }

  /** Hands the next interrupt to KVM, if the guest takes it. To be called before each run. */
  beforeRun(): void {
    const { kvmRun, events } = this.#vcpu;
    if (this.#isRequested && this.#canTakeOne()) {
      const isInjected = this.#vectors.length > 0;
      const vector = isInjected ? this.#vectors[0] : this.#controller!.acknowledge();
      events.interrupt(vector);
      if (isInjected) this.#vectors.shift();
      this.#handed = vector;
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
