import { kvm_lapic_state, kvm_tpr_access_ctl, kvm_vapic_addr } from "../abi/structs/irqchip.ts";
import type { IoctlTarget } from "../ioctl_target.ts";

/**
 * The local APIC that the kernel keeps for a vCPU, once the VM has its interrupt controllers. Each throws a
 * KvmError when the kernel refuses (EINVAL where there is none), and a CapabilityError when it lacks the
 * capability.
 */
export class VcpuApic {
  readonly #target: IoctlTarget;

  /** Use {@linkcode Vcpu.apic}. */
  constructor(target: IoctlTarget) {
    this.#target = target;
  }

  /** Its page of registers, 1024 bytes (`KVM_GET_LAPIC`, api.rst 4.57). */
  getLapic(): Uint8Array {
    return this.#target.get("KVM_GET_LAPIC", kvm_lapic_state).regs;
  }

  /**
   * Sets its page of registers (`KVM_SET_LAPIC`, api.rst 4.58).
   *
   * @throws {RangeError} When it has not 1024 bytes.
   */
  setLapic(regs: Uint8Array): void {
    if (regs.length !== kvm_lapic_state.size) {
      throw new RangeError(
        `Cannot set the local APIC from ${regs.length} bytes: its registers have ${kvm_lapic_state.size}`,
      );
    }
    this.#target.set("KVM_SET_LAPIC", kvm_lapic_state, { regs });
  }

  /**
   * Whether accesses of the task priority end in TPR_ACCESS exits (`KVM_TPR_ACCESS_REPORTING`; the kernel's
   * documentation has no section for it).
   */
  tprAccessReporting(enabled: boolean): void {
    const value = { enabled: enabled ? 1 : 0 };
    this.#target.set("KVM_TPR_ACCESS_REPORTING", kvm_tpr_access_ctl, value);
  }

  /**
   * Where the guest keeps its virtual APIC page, for TPR reporting; 0 for nowhere (`KVM_SET_VAPIC_ADDR`;
   * the kernel's documentation has no section for it).
   */
  setVapicAddr(gpa: number): void {
    this.#target.set("KVM_SET_VAPIC_ADDR", kvm_vapic_addr, { vapic_addr: gpa });
  }
}
