import type { Writable } from "../ffi/struct.ts";
import { kvm_irq_routing_xen_evtchn, type KvmIrqRoutingXenEvtchn } from "./abi/structs/irq.ts";
import {
  kvm_xen_hvm_attr,
  kvm_xen_hvm_config,
  kvm_xen_vcpu_attr,
  type KvmXenHvmAttr,
  type KvmXenHvmConfig,
  type KvmXenVcpuAttr,
} from "./abi/structs/enlightenments.ts";
import type { IoctlTarget } from "./ioctl_target.ts";

/**
 * What the kernel does for a Xen guest. Each throws a KvmError when the kernel refuses, and a
 * CapabilityError when it lacks the capability.
 */
export class VmXen {
  readonly #target: IoctlTarget;

  /** Use {@linkcode Vm.xen}. */
  constructor(target: IoctlTarget) {
    this.#target = target;
  }

  /**
   * Says which MSR gives the hypercall page, and what exits; `flags` are of `KVM_XEN_HVM_CONFIG`
   * (`KVM_XEN_HVM_CONFIG`, api.rst 4.28).
   *
   * @param config What is left out becomes 0.
   */
  xenHvmConfig(config: Writable<KvmXenHvmConfig>): void {
    this.#target.set("KVM_XEN_HVM_CONFIG", kvm_xen_hvm_config, config);
  }

  /**
   * An attribute, of `KVM_XEN_ATTR_TYPE` (`KVM_XEN_HVM_GET_ATTR`, api.rst 4.127).
   *
   * @param type Which.
   */
  xenHvmGetAttr(type: number): KvmXenHvmAttr["u"] {
    return this.#target.get("KVM_XEN_HVM_GET_ATTR", kvm_xen_hvm_attr, { type }).u;
  }

  /**
   * Sets an attribute, of `KVM_XEN_ATTR_TYPE` (`KVM_XEN_HVM_SET_ATTR`, api.rst 4.126).
   *
   * @param type Which.
   * @param u The member of the union that belongs to it.
   */
  xenHvmSetAttr(type: number, u: Writable<KvmXenHvmAttr["u"]>): void {
    this.#target.set("KVM_XEN_HVM_SET_ATTR", kvm_xen_hvm_attr, { type, u });
  }

  /**
   * Sends an event over a channel (`KVM_XEN_HVM_EVTCHN_SEND`, api.rst 4.135).
   *
   * @param channel Its port, the vCPU that hears it, and the priority.
   */
  xenHvmEvtchnSend(channel: Writable<KvmIrqRoutingXenEvtchn>): void {
    this.#target.set("KVM_XEN_HVM_EVTCHN_SEND", kvm_irq_routing_xen_evtchn, channel);
  }
}

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

  /**
   * An attribute, of `KVM_XEN_VCPU_ATTR_TYPE` (`KVM_XEN_VCPU_GET_ATTR`, api.rst 4.129).
   *
   * @param type Which.
   */
  xenVcpuGetAttr(type: number): KvmXenVcpuAttr["u"] {
    return this.#target.get("KVM_XEN_VCPU_GET_ATTR", kvm_xen_vcpu_attr, { type }).u;
  }

  /**
   * Sets an attribute, of `KVM_XEN_VCPU_ATTR_TYPE` (`KVM_XEN_VCPU_SET_ATTR`, api.rst 4.128).
   *
   * @param type Which.
   * @param u The member of the union that belongs to it.
   */
  xenVcpuSetAttr(type: number, u: Writable<KvmXenVcpuAttr["u"]>): void {
    this.#target.set("KVM_XEN_VCPU_SET_ATTR", kvm_xen_vcpu_attr, { type, u });
  }
}
