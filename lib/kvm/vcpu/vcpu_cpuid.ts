import type { Writable } from "../../ffi/struct.ts";
import { kvm_cpuid2, type KvmCpuidEntry2 } from "../abi/structs/cpuid.ts";
import { cpuidEntries } from "../cpuid_list.ts";
import { type IoctlTarget, structBytes } from "../ioctl_target.ts";

/**
 * What CPUID answers on a vCPU. Each throws a KvmError when the kernel refuses, and a CapabilityError when
 * it lacks the capability.
 */
export class VcpuCpuid {
  readonly #target: IoctlTarget;

  /** Use {@linkcode Vcpu.cpuid}. */
  constructor(target: IoctlTarget) {
    this.#target = target;
  }

  /** The leaves that were set, as the vCPU answers them now (`KVM_GET_CPUID2`, api.rst 4.46). */
  getCpuid2(): KvmCpuidEntry2[] {
    return cpuidEntries(this.#target, "KVM_GET_CPUID2");
  }

  /** Replaces all leaves, before the first run (`KVM_SET_CPUID2`, api.rst 4.46). */
  setCpuid2(entries: readonly Writable<KvmCpuidEntry2>[]): void {
    this.#target.call("KVM_SET_CPUID2", structBytes(kvm_cpuid2, { entries }, entries.length));
  }

  /** The Hyper-V leaves that this vCPU could have (`KVM_GET_SUPPORTED_HV_CPUID`, api.rst 4.118). */
  getSupportedHvCpuid(): KvmCpuidEntry2[] {
    return cpuidEntries(this.#target, "KVM_GET_SUPPORTED_HV_CPUID");
  }
}
