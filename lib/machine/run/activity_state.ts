import { KVM_IRQCHIP, KVM_MP_STATE } from "../../kvm/abi/constants.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { Vm } from "../../kvm/vm.ts";
import { localApicState } from "../../x86/apic/local_apic.ts";
import type { Irqchip } from "../interrupts/irqchip.ts";
import type { InterruptQueue } from "../interrupts/interrupt_queue.ts";
import type { RegisterStore } from "../registers/register_store.ts";

/** What {@linkcode ActivityState} needs of its CPU. */
interface ActivityStateInit {
  readonly vm: Vm;
  readonly vcpu: Vcpu;
  readonly store: RegisterStore;
  readonly irqchip: Irqchip;
  readonly interrupts: InterruptQueue;
}

/**
 * Whether a CPU waits, and whether what it waits for has come. With local APICs in the kernel, a CPU that waits for an
 * interrupt or a SIPI does so inside `KVM_RUN`, which would hold up all others: it is not run before that has come.
 *
 * The kernel is asked only about a CPU that was last seen waiting.
 */
export class ActivityState {
  /** Whether its HLT was reported as an exit, and it has not gone on since. */
  isHalted = false;
  readonly #parts: ActivityStateInit;
  #wasWaiting = false;
  /** It waits for a SIPI that nobody can send: where there are local APICs, these know. */
  #isOff = false;

  /** Of a CPU that is not known to wait. */
  constructor(parts: ActivityStateInit) {
    this.#parts = parts;
  }

  /** Whether it can run: it does not wait, or what it waited for has come. */
  get canRun(): boolean {
    if (this.#parts.irqchip === false) {
      if (this.isHalted && this.#parts.interrupts.wakes) this.isHalted = false;
      return !this.isHalted && !this.#isOff;
    }
    if (!this.#wasWaiting) return true;
    if (!this.#isWoken()) return false;
    this.isHalted = false;
    return true;
  }

  /** Whether it was last seen waiting, or has halted. */
  get isWaiting(): boolean {
    return this.#wasWaiting || this.isHalted || this.#isOff;
  }

  /**
   * Whether it sits in HLT, and that is no exit yet. Entering the kernel is the only way to find out whether a timer
   * has fired for it.
   */
  get isIdle(): boolean {
    return !this.isHalted && this.#wasWaiting && this.#state() === KVM_MP_STATE.HALTED;
  }

  /** Whether it sits in HLT for good: nothing that a CPU sends can wake it but NMI and INIT. */
  get isStopped(): boolean {
    return this.#wasWaiting && !this.isHalted && !this.#parts.vcpu.kvmRun.ifFlag &&
      this.#state() === KVM_MP_STATE.HALTED && !this.#isWoken();
  }

  /** Whether it waits, for {@linkcode ActivityState.restore}. */
  save(): Readonly<Record<"isHalted" | "wasWaiting" | "isOff", boolean>> {
    return { isHalted: this.isHalted, wasWaiting: this.#wasWaiting, isOff: this.#isOff };
  }

  /** It waits as it did then. */
  restore({ isHalted, wasWaiting, isOff }: ReturnType<ActivityState["save"]>): void {
    this.isHalted = isHalted;
    this.#wasWaiting = wasWaiting;
    this.#isOff = isOff;
  }

  /** The machine was reset: CPU 0 starts, and the others wait for a SIPI. */
  reset(): void {
    const { irqchip, vcpu } = this.#parts;
    this.isHalted = false;
    this.#isOff = irqchip === false && vcpu.id !== 0;
    this.look();
  }

  /** Looks whether it waits. To be called when a signal has interrupted it. */
  look(): void {
    if (this.#parts.irqchip !== false) this.#wasWaiting = this.#state() !== KVM_MP_STATE.RUNNABLE;
  }

  /** The state, with the INITs and SIPIs that have come: asking for it takes them, and they set registers. */
  #state(): number {
    const { vcpu, store } = this.#parts;
    store.flush();
    const state = vcpu.events.getMpState();
    store.forget();
    return state;
  }

  #isWoken(): boolean {
    const { vcpu } = this.#parts;
    const state = this.#state();
    if (state === KVM_MP_STATE.UNINITIALIZED || state === KVM_MP_STATE.INIT_RECEIVED) return false;
    if (state !== KVM_MP_STATE.HALTED) return true;
    const { nmi, smi } = vcpu.events.getVcpuEvents();
    if ((nmi.pending !== 0 && nmi.masked === 0) || smi.pending !== 0) return true;
    return vcpu.kvmRun.ifFlag && (this.#hasInterrupt() || this.#hasPicInterrupt());
  }

  #hasInterrupt(): boolean {
    const { irr, lvt, timer } = localApicState(this.#parts.vcpu.apic.getLapic());
    if (irr.length > 0) return true;
    // Whether a timer has fired shows only when the CPU runs. One whose HLT has ended its run is left alone.
    return !this.isHalted && !lvt.timer.masked &&
      (timer.initialCount !== 0 || timer.mode === "TSC deadline");
  }

  /** Only CPU 0 takes the interrupts of the PICs. */
  #hasPicInterrupt(): boolean {
    const { vm, vcpu, irqchip } = this.#parts;
    if (irqchip !== true || vcpu.id !== 0) return false;
    const { irr, imr } = vm.interrupts.getIrqchip(KVM_IRQCHIP.PIC_MASTER).chip.pic;
    return (irr & ~imr) !== 0;
  }
}

/**
 * How often in a row a vCPU must be found halted: what was raised just before, and the kernel delivers by a thread of
 * its own, wakes it in between.
 */
const LOOKS = 2;

/** How often a guest is interrupted to be looked at. */
export const LOOK_MILLISECONDS = 5;

/**
 * Finds that a vCPU with its local APIC in the kernel sits in HLT. KVM makes no exit of that: it waits inside
 * `KVM_RUN` for an interrupt. So the vCPU is looked at whenever a signal interrupts the call.
 */
export class HaltWatch {
  /** Whether a guest that interrupts could wake counts too: else only one with RFLAGS.IF clear. */
  endsWaiting = false;
  readonly #vcpu: Vcpu;
  #found = 0;

  /** A watch over one vCPU. */
  constructor(vcpu: Vcpu) {
    this.#vcpu = vcpu;
  }

  /** Whether the vCPU is in HLT now. */
  get isHalted(): boolean {
    return this.#vcpu.events.getMpState() === KVM_MP_STATE.HALTED;
  }

  /** Whether it is, and an interrupt is to wake it. */
  get isWaiting(): boolean {
    return !this.endsWaiting && this.#vcpu.kvmRun.ifFlag && this.isHalted;
  }

  /** Begins anew. To be called before the vCPU runs. */
  reset(): void {
    this.#found = 0;
  }

  /** Whether the guest has halted for good. To be asked after EINTR. */
  look(): boolean {
    const counts = this.endsWaiting || !this.#vcpu.kvmRun.ifFlag;
    this.#found = counts && this.isHalted ? this.#found + 1 : 0;
    return this.#found >= LOOKS;
  }
}
