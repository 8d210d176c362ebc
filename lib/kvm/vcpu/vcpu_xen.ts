import type { Writable } from "../../ffi/struct.ts";
import { kvm_xen_vcpu_attr, type KvmXenVcpuAttr } from "../abi/structs/xen.ts";
import type { IoctlTarget } from "../ioctl_target.ts";

/**
 * What the kernel keeps of a vCPU for a Xen guest. Each throws a KvmError when the kernel refuses, and a
 * CapabilityError when it lacks the capability.
 */
export class VcpuXen {
  readonly #target: IoctlTarget;

  /** Use {@linkcode Vcpu.xen}. */
  constructor(target: IoctlTarget) {
    this.#target = target;
  }

  /** An attribute, of `KVM_XEN_VCPU_ATTR_TYPE` (`KVM_XEN_VCPU_GET_ATTR`, api.rst 4.129). */
  xenVcpuGetAttr(type: number): KvmXenVcpuAttr["u"] {
    return this.#target.get("KVM_XEN_VCPU_GET_ATTR", kvm_xen_vcpu_attr, { type }).u;
  }

  /** Sets an attribute, of `KVM_XEN_VCPU_ATTR_TYPE` (`KVM_XEN_VCPU_SET_ATTR`, api.rst 4.128). */
  xenVcpuSetAttr(type: number, u: Writable<KvmXenVcpuAttr["u"]>): void {
    this.#target.set("KVM_XEN_VCPU_SET_ATTR", kvm_xen_vcpu_attr, { type, u });
  }
}
