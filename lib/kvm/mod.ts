/**
 * The kernel's four levels of KVM, system, VM, vCPU and device, with a method for each ioctl, the exits of a vCPU, and
 * the C library under them.
 *
 * @example
 * ```ts no-eval
 * import { Kvm } from "@vmexit/vmexit/kvm";
 *
 * using kvm = Kvm.open();
 * using vm = kvm.createVm();
 * using vcpu = vm.createVcpu(0);
 * console.log(vcpu.registers.getRegs().rip);
 * ```
 *
 * @module
 */
export * from "./capability_error.ts";
export * from "./coalesced_ring.ts";
export * from "./exits/describe_exit.ts";
export * from "./device.ts";
export * from "./device_attributes.ts";
export * from "./dirty_ring.ts";
export * from "./exits/exit.ts";
export { type IoctlOptions, IoctlTarget } from "./ioctl_target.ts";
export * from "./kvm.ts";
export * from "./kvm_error.ts";
export * from "./kvm_run_page.ts";
export * from "./msr_error.ts";
export { kvmLibc } from "./remote/kvm_choice.ts";
export * from "./stats_fd.ts";
export * from "./vcpu.ts";
export * from "./vcpu/vcpu_apic.ts";
export * from "./vcpu/vcpu_clock.ts";
export * from "./vcpu/vcpu_cpuid.ts";
export * from "./vcpu/vcpu_events.ts";
export * from "./vcpu/vcpu_fpu.ts";
export * from "./vcpu/vcpu_msrs.ts";
export * from "./vcpu/vcpu_nested.ts";
export * from "./vcpu/vcpu_registers.ts";
export * from "./vcpu/vcpu_xen.ts";
export * from "./vm.ts";
export * from "./vm/vm_clock.ts";
export * from "./vm/vm_encryption.ts";
export * from "./vm/vm_filters.ts";
export * from "./vm/vm_interrupts.ts";
export * from "./vm/vm_memory.ts";
export * from "./vm/vm_pit.ts";
export * from "./vm/vm_xen.ts";
export * from "./wrapped_ioctls.ts";
export * from "../ffi/mod.ts";
