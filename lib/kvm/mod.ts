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
export { CapabilityError } from "./capability_error.ts";
export {
  COALESCED_RING_CAPACITY,
  type CoalescedRing,
  type CoalescedWriteTaker,
} from "./coalesced_ring.ts";
export type { Device } from "./device.ts";
export type { AttributeName, DeviceAttributes } from "./device_attributes.ts";
export type { DirtyPage, DirtyRing } from "./dirty_ring.ts";
export { describeExit, type ExitNames } from "./exits/describe_exit.ts";
export * from "./exits/exit.ts";
export type { IoctlOptions, IoctlTarget } from "./ioctl_target.ts";
export { Kvm, KVM_API_VERSION, KVM_DEVICE } from "./kvm.ts";
export { KvmError } from "./kvm_error.ts";
export type { KvmRunPage } from "./kvm_run_page.ts";
export { MsrError } from "./msr_error.ts";
export { kvmLibc } from "./remote/kvm_choice.ts";
export type { Statistic, StatsFd } from "./stats_fd.ts";
export type { Vcpu } from "./vcpu.ts";
export type { VcpuApic } from "./vcpu/vcpu_apic.ts";
export type { VcpuClock } from "./vcpu/vcpu_clock.ts";
export type { VcpuCpuid } from "./vcpu/vcpu_cpuid.ts";
export type { VcpuEvents } from "./vcpu/vcpu_events.ts";
export type { VcpuFpu } from "./vcpu/vcpu_fpu.ts";
export type { VcpuMsrs } from "./vcpu/vcpu_msrs.ts";
export type { NestedState, NestedStateToSet, VcpuNested } from "./vcpu/vcpu_nested.ts";
export type { VcpuRegisters } from "./vcpu/vcpu_registers.ts";
export type { VcpuXen } from "./vcpu/vcpu_xen.ts";
export type { MemoryRegion, Vm } from "./vm.ts";
export type { VmClock } from "./vm/vm_clock.ts";
export type { VmEncryption } from "./vm/vm_encryption.ts";
export type { MsrFilterRange, PmuEventFilter, VmFilters } from "./vm/vm_filters.ts";
export type { IoapicRegisters, IrqchipState, VmInterrupts } from "./vm/vm_interrupts.ts";
export type { DirtyPages, MemoryRegion2, VmMemory } from "./vm/vm_memory.ts";
export type { VmPit } from "./vm/vm_pit.ts";
export type { VmXen } from "./vm/vm_xen.ts";
export * from "../ffi/mod.ts";
