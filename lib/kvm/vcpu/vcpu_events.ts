import type { Writable } from "../../ffi/struct.ts";
import {
  kvm_interrupt,
  kvm_mp_state,
  kvm_vcpu_events,
  kvm_x86_mce,
  type KvmVcpuEvents,
  type KvmX86Mce,
} from "../abi/structs/vcpu.ts";
import type { IoctlTarget } from "../ioctl_target.ts";
import { kvm_lapic_state, kvm_tpr_access_ctl, kvm_vapic_addr } from "../abi/structs/irqchip.ts";

/**
 * What happens to a vCPU from outside: interrupts, exceptions, NMIs, SMIs, machine checks, and whether it
 * runs at all. Each throws a KvmError when the kernel refuses, and a CapabilityError when it lacks the
 * capability.
 */
export class VcpuEvents {
  readonly #target: IoctlTarget;

  /** Use {@linkcode Vcpu.events}. */
  constructor(target: IoctlTarget) {
    this.#target = target;
  }

  /** What is pending or being injected (`KVM_GET_VCPU_EVENTS`, api.rst 4.31). */
  getVcpuEvents(): KvmVcpuEvents {
    return this.#target.get("KVM_GET_VCPU_EVENTS", kvm_vcpu_events);
  }

  /**
   * Sets it; `flags` of `KVM_VCPUEVENT_VALID` say which optional fields count (`KVM_SET_VCPU_EVENTS`,
   * api.rst 4.32).
   *
   * @param events What is left out becomes 0.
   */
  setVcpuEvents(events: Writable<KvmVcpuEvents>): void {
    this.#target.set("KVM_SET_VCPU_EVENTS", kvm_vcpu_events, events);
  }

  /**
   * Queues an external interrupt for the next run (`KVM_INTERRUPT`, api.rst 4.16).
   *
   * @param irq The vector.
   * @throws {KvmError} ENXIO where the kernel has the interrupt controllers, EEXIST where a split
   *   controller has one queued already, EINVAL beyond 255.
   */
  interrupt(irq: number): void {
    this.#target.set("KVM_INTERRUPT", kvm_interrupt, { irq }, {
      context: `with vector ${irq}`,
    });
  }

  /** Queues an NMI (`KVM_NMI`, api.rst 4.64). */
  nmi(): void {
    this.#target.call("KVM_NMI");
  }

  /** Queues an SMI (`KVM_SMI`, api.rst 4.96). */
  smi(): void {
    this.#target.call("KVM_SMI");
  }

  /** One of `KVM_MP_STATE` (`KVM_GET_MP_STATE`, api.rst 4.38). */
  getMpState(): number {
    return this.#target.get("KVM_GET_MP_STATE", kvm_mp_state).mp_state;
  }

  /**
   * Sets one of `KVM_MP_STATE` (`KVM_SET_MP_STATE`, api.rst 4.39).
   *
   * @param state Of `KVM_MP_STATE`.
   * @throws {KvmError} EINVAL for all but RUNNABLE where the kernel has no local APIC.
   */
  setMpState(state: number): void {
    this.#target.set("KVM_SET_MP_STATE", kvm_mp_state, { mp_state: state });
  }

  /**
   * Gives the vCPU machine checks (`KVM_X86_SETUP_MCE`, api.rst 4.105).
   *
   * @param capabilities Of MCG_CAP: the number of banks in bits 7:0, and features of
   * {@linkcode Kvm.x86GetMceCapSupported}.
   */
  x86SetupMce(capabilities: bigint): void {
    this.#target.setU64("KVM_X86_SETUP_MCE", capabilities);
  }

  /**
   * Injects a machine check into a bank (`KVM_X86_SET_MCE`, api.rst 4.106).
   *
   * @param check The bank's number, and the values of its registers.
   */
  x86SetMce(check: Writable<KvmX86Mce>): void {
    this.#target.set("KVM_X86_SET_MCE", kvm_x86_mce, check);
  }
}

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
   * @param regs 1024 bytes: the registers at their offsets in the page (Intel SDM Vol. 3A, table 10-1).
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
   *
   * @param enabled Whether they do.
   */
  tprAccessReporting(enabled: boolean): void {
    const value = { enabled: enabled ? 1 : 0 };
    this.#target.set("KVM_TPR_ACCESS_REPORTING", kvm_tpr_access_ctl, value);
  }

  /**
   * Where the guest keeps its virtual APIC page, for TPR reporting; 0 for nowhere (`KVM_SET_VAPIC_ADDR`;
   * the kernel's documentation has no section for it).
   *
   * @param gpa A guest physical address.
   */
  setVapicAddr(gpa: number): void {
    this.#target.set("KVM_SET_VAPIC_ADDR", kvm_vapic_addr, { vapic_addr: gpa });
  }
}
