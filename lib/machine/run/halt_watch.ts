import { KVM_MP_STATE } from "../../kvm/abi/constants.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";

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
